-- How each peer does. Times are nanoseconds since 1970; NULL is never. repass is when all that it has
-- is compared again.
CREATE TABLE peers (
    url     TEXT    PRIMARY KEY,
    fails   INTEGER NOT NULL,
    since   INTEGER,
    next    INTEGER,
    bad     INTEGER NOT NULL CHECK (bad IN (0, 1)),
    seen    INTEGER,
    whole   INTEGER,
    repass  INTEGER,
    trouble TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Events of peers that are not fetched again until then, or until what is announced of subject
-- changes.
CREATE TABLE unwanted (
    seq     INTEGER PRIMARY KEY,
    id      BLOB    NOT NULL UNIQUE CHECK (length(id) = 32),
    subject TEXT    NOT NULL,
    until   INTEGER NOT NULL
) STRICT;

-- Which repositories are announced here, in the order of arrival.
CREATE INDEX events_announced ON events (kind) WHERE kind = 30617;
