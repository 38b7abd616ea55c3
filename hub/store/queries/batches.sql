-- name: lock
-- The registry first (shared: only loading it excludes us), then gateways in the order of their lock, so that two
-- commits that overlap wait for each other and cannot deadlock.
select pg_advisory_xact_lock_shared(%(registry)b::bigint)
union all
select pg_advisory_xact_lock(l) from unnest(%(gateways)b::bigint[]) as l

-- name: stored
-- The batches that a group's own ones must be compared with: same key, the one before, the one after.
select b.gateway_id, encode(b.epoch, 'hex'), b.seq, b.payload_sha256, b.prev_sha256, b.chain
from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(seq)s::bigint[]) as w (gateway_id, epoch, seq)
join batch b using (gateway_id, epoch, seq)

-- name: keys
select gateway_id, algorithm, public_key from gateway where gateway_id = any(%(gateway)b::text[])

-- name: insert
insert into batch (gateway_id, epoch, seq, payload_sha256, prev_sha256, window_from, window_to, readings, envelope, chain)
select
    gateway_id, epoch, seq, payload_sha256, prev_sha256,
    timestamptz 'epoch' + from_ms * interval '1 millisecond', timestamptz 'epoch' + to_ms * interval '1 millisecond',
    readings, envelope, chain
from unnest(
    %(gateway)b::text[], %(epoch)b::bytea[], %(seq)s::bigint[], %(payload_sha256)b::bytea[], %(prev_sha256)b::bytea[],
    %(from_ms)s::bigint[], %(to_ms)s::bigint[], %(readings)s::integer[], %(envelope)b::bytea[], %(chain)s::smallint[]
) as w (gateway_id, epoch, seq, payload_sha256, prev_sha256, from_ms, to_ms, readings, envelope, chain)
on conflict (gateway_id, epoch, seq) do nothing
returning gateway_id, encode(epoch, 'hex'), seq, batch_no

-- name: relink
update batch b set chain = w.chain
from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(seq)s::bigint[], %(chain)s::smallint[]) as w (gateway_id, epoch, seq, chain)
where (b.gateway_id, b.epoch, b.seq) = (w.gateway_id, w.epoch, w.seq)

-- name: copy
copy observation (observed_at, batch_no, value, datastream_no, quality, reading_index) from stdin (format binary)

-- name: heard
update gateway set first_heard_at = coalesce(first_heard_at, now()), last_heard_at = now()
where gateway_id = any(%(gateway)b::text[])
