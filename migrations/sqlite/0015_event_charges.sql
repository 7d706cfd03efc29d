-- What an event counts for, one charge behind the other: one row for an event, at the end of the table, and
-- nothing that is looked up. The table of charges holds those of events that came before.
CREATE TABLE event_charges (
    event INTEGER PRIMARY KEY,
    list  BLOB NOT NULL
) STRICT;
