-- Jobs: what follows from a move of a ref, a time that came, a wish of somebody. Times are nanoseconds
-- since 1970. Above state is what is said once; the rest changes.
CREATE TABLE jobs (
    id         TEXT    PRIMARY KEY,
    run        TEXT    NOT NULL,
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    identifier TEXT    NOT NULL,
    box        INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    class      TEXT    NOT NULL,
    pool       TEXT    NOT NULL,
    happening  TEXT    NOT NULL, -- what triggered it
    ref        TEXT    NOT NULL, -- '' where no ref is concerned
    old        BLOB,
    new        BLOB,
    push       TEXT,
    cause      BLOB,
    actor      BLOB,
    due        INTEGER,
    depth      INTEGER NOT NULL,
    definition BLOB    NOT NULL,
    input      BLOB    NOT NULL,
    grp        TEXT    NOT NULL,
    policy     TEXT    NOT NULL CHECK (policy IN ('latest', 'queue', 'cancel', 'all')),
    force      INTEGER NOT NULL,
    retry      TEXT    NOT NULL, -- JSON
    timeout    INTEGER NOT NULL,
    spec       BLOB,
    move       INTEGER, -- the row of moves that was written with it
    created    INTEGER NOT NULL,

    state      TEXT    NOT NULL,
    reason     TEXT    NOT NULL DEFAULT '',
    attempt    INTEGER NOT NULL DEFAULT 0,
    crashes    INTEGER NOT NULL DEFAULT 0,
    run_after  INTEGER NOT NULL,
    claim      INTEGER NOT NULL DEFAULT 0, -- the turn in which it was claimed last
    held_by    TEXT,                       -- these four while it runs
    held_until INTEGER,
    asked      TEXT,                       -- to end: 'cancelled' or 'superseded'
    asked_why  TEXT,
    budget     INTEGER NOT NULL DEFAULT 0, -- 1 if it was skipped for its owner's bounds
    started    INTEGER,
    ended      INTEGER,
    exit       INTEGER NOT NULL DEFAULT 0,
    signal     TEXT    NOT NULL DEFAULT '',
    rss        INTEGER NOT NULL DEFAULT 0,
    cpu        INTEGER NOT NULL DEFAULT 0,
    log        TEXT    NOT NULL DEFAULT '',
    log_bytes  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Of a group one runs, and of those where the newest counts one is queued: whatever the program does.
CREATE UNIQUE INDEX jobs_latest  ON jobs (grp) WHERE state = 'queued' AND policy IN ('latest', 'cancel');
CREATE UNIQUE INDEX jobs_alone   ON jobs (grp) WHERE state = 'running' AND policy <> 'all';
CREATE INDEX jobs_in_turn ON jobs (grp, id) WHERE state = 'queued' AND policy = 'queue';

CREATE INDEX jobs_queued  ON jobs (pool, owner, run_after) WHERE state = 'queued';
CREATE INDEX jobs_due     ON jobs (pool, run_after) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (pool, owner, identifier, box) WHERE state = 'running';
CREATE INDEX jobs_waiting ON jobs (owner) WHERE state = 'waiting';
CREATE INDEX jobs_pending ON jobs (owner) WHERE state = 'queued';
CREATE INDEX jobs_held    ON jobs (held_by, id) WHERE state = 'running';
CREATE INDEX jobs_skips   ON jobs (owner, id) WHERE budget = 1;
CREATE INDEX jobs_line    ON jobs (owner, identifier, box, name, ref, id);
CREATE INDEX jobs_repo    ON jobs (owner, identifier, box, id);
CREATE INDEX jobs_claims  ON jobs (claim);
CREATE INDEX jobs_turn    ON jobs (owner, identifier, box, claim);
CREATE INDEX jobs_spent   ON jobs (owner, ended) WHERE started IS NOT NULL AND ended IS NOT NULL;
CREATE INDEX jobs_run     ON jobs (run, id);
CREATE INDEX jobs_logs    ON jobs (id) WHERE log = 'kept';

-- Which jobs a job needs, and how they have to end.
CREATE TABLE job_needs (
    job   TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    needs TEXT NOT NULL,
    cond  TEXT NOT NULL,
    PRIMARY KEY (job, needs)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_needs_of ON job_needs (needs);

-- Owners with something to do, and when each had a turn: who has waited longest is next.
CREATE TABLE job_turns (
    pool  TEXT    NOT NULL,
    owner BLOB    NOT NULL CHECK (length(owner) = 32),
    turn  INTEGER NOT NULL,
    PRIMARY KEY (pool, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_turns_turn ON job_turns (pool, turn);

-- The last time of a schedule that was worked on, so that none is worked on twice.
CREATE TABLE job_dues (
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    identifier TEXT    NOT NULL,
    box        INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    due        INTEGER NOT NULL,
    PRIMARY KEY (owner, identifier, box, name)
) STRICT, WITHOUT ROWID;
