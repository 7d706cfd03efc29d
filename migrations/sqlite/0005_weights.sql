-- What each repository holds on disk, in bytes: own counts for its owner, pulls was brought by PR refs,
-- which anybody may push. box is 1 for a contributor's box, whose whole is own. What weighs nothing, or
-- was not weighed yet, has no row.
CREATE TABLE weights (
    box        INTEGER NOT NULL CHECK (box IN (0, 1)),
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    identifier TEXT    NOT NULL,
    own        INTEGER NOT NULL CHECK (own >= 0),
    pulls      INTEGER NOT NULL CHECK (pulls >= 0),
    PRIMARY KEY (box, owner, identifier)
) STRICT, WITHOUT ROWID;

CREATE INDEX repos_kept ON repos (owner, hosting, since);
