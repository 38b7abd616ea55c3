-- Batches of more than one epoch, headers that outlive their envelopes, gap records.

CREATE TABLE header (                    -- one sealed batch: small, so that counting never reads envelopes
    id INTEGER PRIMARY KEY,              -- in order of sealing
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    payload_sha256 BLOB NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    urgent INTEGER NOT NULL,
    sealed_at_ms INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,          -- the hub has it
    gone TEXT NOT NULL,                  -- why there is no envelope any more, '' while there is one
    UNIQUE (epoch, seq)
) STRICT;
CREATE INDEX header_waiting ON header (epoch, seq) WHERE confirmed = 0 AND gone = '';

CREATE TABLE envelope (                  -- these bytes never change
    id INTEGER PRIMARY KEY,              -- its header's
    bytes BLOB NOT NULL
) STRICT;
CREATE TRIGGER envelope_is_immutable BEFORE UPDATE ON envelope
BEGIN SELECT RAISE(ABORT, 'a sealed batch never changes'); END;

INSERT INTO header
SELECT seq, epoch, seq, x'', 0, 0, readings, urgent, sealed_at_ms, seq <= through, '' FROM batch, spool ORDER BY seq;
INSERT INTO envelope SELECT seq, envelope FROM batch ORDER BY seq;
DROP TABLE batch;

CREATE VIEW batch AS
SELECT header.id AS id, epoch, seq, bytes AS envelope, readings, urgent, sealed_at_ms, confirmed
FROM header JOIN envelope ON envelope.id = header.id;
CREATE TRIGGER batch_is_immutable INSTEAD OF UPDATE ON batch
BEGIN SELECT RAISE(ABORT, 'a sealed batch never changes'); END;

CREATE TABLE older (                     -- epochs before this one whose batches are still here
    epoch TEXT PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    through INTEGER NOT NULL,
    incarnation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gap (                       -- what is missing and why; each has gone into a batch as an event, too
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL                   -- a Gap in JSON
) STRICT;

CREATE TABLE counted (                   -- ids of readings count up for ever: what was lost can be counted
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    body BLOB NOT NULL
) STRICT;
INSERT INTO counted SELECT id, body FROM reading ORDER BY id;
DROP TABLE reading;
ALTER TABLE counted RENAME TO reading;
