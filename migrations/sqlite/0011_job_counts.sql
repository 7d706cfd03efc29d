-- How many jobs wait, and whose turn it is, are kept: whoever queues or claims a job needs not count the
-- queue. pending is how many are waiting or queued, of all owners; turn the last that anybody had.
CREATE TABLE job_counts (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    pending INTEGER NOT NULL,
    turn    INTEGER NOT NULL
) STRICT;

INSERT INTO job_counts (one, pending, turn) SELECT 1,
    (SELECT count(*) FROM jobs WHERE state IN ('waiting', 'queued')),
    max(ifnull((SELECT max(claim) FROM jobs), 0), ifnull((SELECT max(turn) FROM job_turns), 0));

CREATE TRIGGER job_added AFTER INSERT ON jobs WHEN new.state IN ('waiting', 'queued') BEGIN
    UPDATE job_counts SET pending = pending + 1;
END;

CREATE TRIGGER job_began AFTER UPDATE OF state ON jobs
    WHEN (old.state IN ('waiting', 'queued')) <> (new.state IN ('waiting', 'queued')) BEGIN
    UPDATE job_counts SET pending = pending + (new.state IN ('waiting', 'queued')) - (old.state IN ('waiting', 'queued'));
END;

CREATE TRIGGER job_removed AFTER DELETE ON jobs WHEN old.state IN ('waiting', 'queued') BEGIN
    UPDATE job_counts SET pending = pending - 1;
END;

-- Which repository had its turn is asked of those that had one; nobody asks for the last of all any more.
DROP INDEX jobs_claims;
DROP INDEX jobs_turn;
CREATE INDEX jobs_turn ON jobs (owner, identifier, box, claim) WHERE claim > 0;

-- How many of one owner wait is counted in the index from which jobs are claimed, and in one like it.
DROP INDEX jobs_pending;
DROP INDEX jobs_waiting;
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued  ON jobs (owner, pool, run_after) WHERE state = 'queued';
CREATE INDEX jobs_waiting ON jobs (owner, pool) WHERE state = 'waiting';
