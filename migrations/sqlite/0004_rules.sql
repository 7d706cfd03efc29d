-- What the operator decided, one row for each subject. A number is never used again: people and
-- logs speak of rules by it. at is nanoseconds since 1970; author is a key in hex, or says how the
-- rule came here.
CREATE TABLE rules (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    topic  TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    action TEXT    NOT NULL CHECK (action IN ('allow', 'deny')),
    reason TEXT    NOT NULL,
    author TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    UNIQUE (topic, name)
) STRICT;

-- What the server says of itself in place of its configuration.
CREATE TABLE profile (
    name   TEXT    PRIMARY KEY,
    value  TEXT    NOT NULL,
    author TEXT    NOT NULL,
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX repos_owner ON repos (owner, identifier);
