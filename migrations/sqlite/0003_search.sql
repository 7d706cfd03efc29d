-- The words of served events that a search finds (NIP-50). rowid is events.seq. The words are
-- prepared before they come here, parted by spaces: the tokenizer takes them as they are. Of the
-- text itself nothing is kept: it is in the event.
CREATE VIRTUAL TABLE search USING fts5 (
    title, body,
    content = '', contentless_delete = 1, tokenize = 'ascii'
);

-- Up to which event the words of what was served before there was a search are still missing: the
-- events behind done, up to upto. One row, or none when nothing is missing.
CREATE TABLE unsearched (
    done INTEGER NOT NULL,
    upto INTEGER NOT NULL
) STRICT;
INSERT INTO unsearched (done, upto) SELECT 0, max(seq) FROM events HAVING max(seq) IS NOT NULL;
