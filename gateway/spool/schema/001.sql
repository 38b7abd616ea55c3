-- The spool: what this gateway has heard and the hub has not yet confirmed, and the confirmed part that is kept.

CREATE TABLE spool (                     -- one row: whose spool, and where its chain stands
    id INTEGER PRIMARY KEY CHECK (id = 1),
    gateway TEXT NOT NULL,
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,           -- highest sealed
    last_hash BLOB NOT NULL,             -- its payload's SHA-256: the next batch's prev
    window_to_ms INTEGER NOT NULL,       -- where its window ended
    through INTEGER NOT NULL,            -- the hub's watermark
    incarnation INTEGER NOT NULL         -- of the hub that gave it
) STRICT;

CREATE TABLE reading (                   -- heard, durable, not yet sealed; in order of arrival
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL                   -- a Reading in MessagePack
) STRICT;

CREATE TABLE event (                     -- what happened to the gateway itself, for the next batch
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE batch (                     -- sealed: these bytes never change
    seq INTEGER PRIMARY KEY,
    envelope BLOB NOT NULL,
    readings INTEGER NOT NULL,
    urgent INTEGER NOT NULL,
    sealed_at_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER batch_is_immutable BEFORE UPDATE ON batch
BEGIN SELECT RAISE(ABORT, 'a sealed batch never changes'); END;

CREATE TABLE recent (                    -- keys of events already kept: a redelivered one is not kept twice
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE heard (                     -- each source's tally, for `xom gateway status`
    source TEXT PRIMARY KEY,
    frames INTEGER NOT NULL,
    undecoded INTEGER NOT NULL,
    last_reason TEXT NOT NULL,           -- why its last undecoded frame was not decoded
    first_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
