-- Jobs that a change has made and that nobody has asked for yet: whole, and on disk together with what they
-- follow from. Whoever reads or writes jobs puts them into their table first. There are never many.
CREATE TABLE job_intake (
    n    INTEGER PRIMARY KEY,
    jobs BLOB NOT NULL -- JSON, in the order in which they are queued
) STRICT;
