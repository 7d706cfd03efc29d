-- Jobs that files of repositories define, and jobs that wait for somebody to approve of them. Both columns are JSON.
ALTER TABLE jobs ADD COLUMN source   TEXT; -- NULL where the operator's configuration defines it
ALTER TABLE jobs ADD COLUMN approval TEXT; -- NULL where none is needed

-- What waits for approval is counted by itself, for each owner.
CREATE INDEX jobs_unapproved ON jobs (owner, created) WHERE state = 'waiting_for_approval';
