-- What the hub has, told apart: 1 what it says it has above its watermark, 2 what lies below a proven one. Only 2 is deleted.
-- A year's outage leaves half a million headers: neither an Ack, nor making room, nor a start may walk through them.

UPDATE header SET confirmed = 2
WHERE confirmed = 1 AND seq <= coalesce(
    (SELECT through FROM spool WHERE spool.epoch = header.epoch),
    (SELECT through FROM older WHERE older.epoch = header.epoch),
    0);

DROP INDEX header_waiting;
CREATE INDEX header_told ON header (epoch, confirmed, seq) WHERE gone = '';    -- an Ack's ranges
CREATE INDEX header_aged ON header (confirmed) WHERE gone = '';                -- the oldest of each kind
CREATE INDEX header_alarm ON header (epoch, confirmed, urgent, seq) WHERE urgent = 1 AND confirmed = 0 AND gone = '';
CREATE INDEX header_gone ON header (epoch, seq) WHERE gone != '';              -- those without an envelope
