-- How many events count for each charge is kept by the writer, once for each transaction and not once
-- for each row: many events of one transaction count for the same.
DROP TRIGGER charged;
DROP TRIGGER discharged;
