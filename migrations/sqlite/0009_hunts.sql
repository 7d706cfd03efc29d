-- Identifiers whose git data is looked for elsewhere: how often in vain, since when, and when it is
-- tried next. Times are nanoseconds since 1970.
CREATE TABLE hunts (
    id    TEXT    PRIMARY KEY,
    tries INTEGER NOT NULL,
    since INTEGER NOT NULL,
    next  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
