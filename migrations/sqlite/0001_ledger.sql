-- Events on both shelves. shelf is 1 for waiting and 2 for served. Times are nanoseconds since
-- 1970, but created_at and expires are the seconds that the event itself says. d is the first d
-- tag of an addressable event, '' for a replaceable one, and NULL for all others.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL CHECK (length(id) = 32),
    pubkey     BLOB    NOT NULL CHECK (length(pubkey) = 32),
    kind       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    d          TEXT,
    shelf      INTEGER NOT NULL CHECK (shelf IN (1, 2)),
    received   INTEGER,
    deadline   INTEGER,
    expires    INTEGER,
    source     TEXT    NOT NULL,
    subjects   TEXT    NOT NULL, -- JSON: the identifiers, as they were handed in
    raw        BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_id ON events (id);

-- At most one version of a coordinate is served (N-009).
CREATE UNIQUE INDEX events_version ON events (kind, pubkey, d) WHERE shelf = 2 AND d IS NOT NULL;

-- One per shape of filter. Each holds all that a scan needs, in the order in which events are
-- answered: newest first, ties by lowest id (N-005).
CREATE INDEX events_time        ON events (created_at DESC, id, kind, expires) WHERE shelf = 2;
CREATE INDEX events_kind        ON events (kind, created_at DESC, id, expires) WHERE shelf = 2;
CREATE INDEX events_author      ON events (pubkey, created_at DESC, id, kind, expires) WHERE shelf = 2;
CREATE INDEX events_author_kind ON events (pubkey, kind, created_at DESC, id, expires) WHERE shelf = 2;

CREATE INDEX events_waiting  ON events (pubkey, kind, d) WHERE shelf = 1;
CREATE INDEX events_source   ON events (source) WHERE shelf = 1;
CREATE INDEX events_deadline ON events (deadline) WHERE shelf = 1;
CREATE INDEX events_expires  ON events (shelf, expires) WHERE expires IS NOT NULL;

-- The single-letter tags of served events. key is the letter, the form, and the value in that
-- form: a hash where the value is long, so that no value is too long to be found.
CREATE TABLE tags (
    key        BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    event      INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    expires    INTEGER,
    PRIMARY KEY (key, created_at DESC, id)
) STRICT, WITHOUT ROWID;

-- Which events are part of the view of an identifier.
CREATE TABLE subjects (
    identifier TEXT    NOT NULL,
    event      INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    PRIMARY KEY (identifier, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX subjects_event ON subjects (event);

CREATE TABLE repos (
    identifier TEXT    NOT NULL,
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    hosting    INTEGER NOT NULL,
    since      INTEGER,
    PRIMARY KEY (identifier, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX repos_hosting ON repos (hosting, since);
CREATE INDEX repos_since   ON repos (since);

CREATE TABLE orphans (
    identifier TEXT    NOT NULL,
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    event      BLOB    NOT NULL CHECK (length(event) = 32),
    deadline   INTEGER NOT NULL,
    PRIMARY KEY (identifier, owner, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX orphans_deadline ON orphans (deadline);

-- The refs of each repository as of the last move that was recorded.
CREATE TABLE refs (
    identifier TEXT NOT NULL,
    owner      BLOB NOT NULL CHECK (length(owner) = 32),
    name       TEXT NOT NULL,
    oid        BLOB NOT NULL,
    PRIMARY KEY (identifier, owner, name)
) STRICT, WITHOUT ROWID;

-- The journal: what every ref did, when, and why. old and new are NULL where the ref did not
-- exist.
CREATE TABLE moves (
    seq        INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    identifier TEXT    NOT NULL,
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    name       TEXT    NOT NULL,
    old        BLOB,
    new        BLOB,
    cause      BLOB,
    push       TEXT
) STRICT;
CREATE INDEX moves_repo ON moves (identifier, owner, seq);

-- What was deleted and must not come back. what is 1 for an event id, 2 for the versions of a
-- coordinate, 3 for everything of a key.
CREATE TABLE tombs (
    author BLOB    NOT NULL CHECK (length(author) = 32),
    what   INTEGER NOT NULL CHECK (what IN (1, 2, 3)),
    name   BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (author, what, name)
) STRICT, WITHOUT ROWID;

-- Identifiers whose last settlement may not have been finished.
CREATE TABLE unsettled (
    identifier TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
