-- Events that are served and on disk, but not yet filed under all that they are found by. There are
-- never many, and who reads looks here as well; charges are put one behind the other.
CREATE TABLE tray (
    n        INTEGER PRIMARY KEY,
    received INTEGER,
    source   TEXT NOT NULL,
    charges  BLOB NOT NULL,
    raw      BLOB NOT NULL
) STRICT;
