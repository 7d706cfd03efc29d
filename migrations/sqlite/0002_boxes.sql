-- Contributors' boxes (GRASP-06): repositories that nobody announces, each of one submitter and one
-- identifier. They have tables of their own: whatever is asked about announced repositories need not
-- know of them, however many strangers make.

-- PR refs in boxes that have no accepted event yet, or whose event nobody has noticed yet.
CREATE TABLE box_orphans (
    identifier TEXT    NOT NULL,
    owner      BLOB    NOT NULL CHECK (length(owner) = 32),
    event      BLOB    NOT NULL CHECK (length(event) = 32),
    deadline   INTEGER NOT NULL,
    PRIMARY KEY (identifier, owner, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX box_orphans_deadline ON box_orphans (deadline);
CREATE INDEX box_orphans_due      ON box_orphans (identifier, deadline);
CREATE INDEX box_orphans_event    ON box_orphans (event);
CREATE INDEX box_orphans_owner    ON box_orphans (owner);

-- The refs of each box as of the last move that was recorded. event is the id in the name of the ref.
CREATE TABLE box_refs (
    identifier TEXT NOT NULL,
    owner      BLOB NOT NULL CHECK (length(owner) = 32),
    event      BLOB NOT NULL CHECK (length(event) = 32),
    oid        BLOB NOT NULL,
    PRIMARY KEY (identifier, owner, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX box_refs_owner ON box_refs (owner);

ALTER TABLE moves ADD COLUMN box INTEGER NOT NULL DEFAULT 0; -- 1 in the journal of a box
