-- What an event counts for: its author, the threads it joins, the repositories they are about. A charge
-- is opaque here. How many events count for each is kept beside it, whichever way one comes or goes.
CREATE TABLE charges (
    event  INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    charge BLOB    NOT NULL CHECK (length(charge) = 17),
    PRIMARY KEY (event, charge)
) STRICT, WITHOUT ROWID;

CREATE TABLE tallies (
    charge BLOB    PRIMARY KEY CHECK (length(charge) = 17),
    n      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER charged AFTER INSERT ON charges BEGIN
    INSERT INTO tallies (charge, n) VALUES (new.charge, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER discharged AFTER DELETE ON charges BEGIN
    UPDATE tallies SET n = n - 1 WHERE charge = old.charge;
    DELETE FROM tallies WHERE charge = old.charge AND n <= 0;
END;
