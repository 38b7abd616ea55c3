-- name: above
-- What lies above the old watermark: stored batches in pages, negative where the chain is broken (2), and accounted ranges.
-- The batch table is the truth, the delivery row only saves the walk.
select w.gateway_id, encode(w.epoch, 'hex'), old.through, array(
    select case b.chain when 2 then -b.seq else b.seq end from batch b
    where b.gateway_id = w.gateway_id and b.epoch = w.epoch and b.seq > old.through
    order by b.seq limit %(page)b::integer
), array(
    select array[a.first, a.last] from gap_account a
    where a.gateway_id = w.gateway_id and a.epoch = w.epoch and a.last > old.through
    order by a.first, a.last
)
from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(through)b::bigint[]) as w (gateway_id, epoch, through)
left join delivery d using (gateway_id, epoch)
cross join lateral (select greatest(coalesce(d.through, 0), w.through) as through) as old

-- name: anchors
-- The highest batch at or below each watermark: what binds it to content.
select w.gateway_id, encode(w.epoch, 'hex'), b.seq, encode(b.payload_sha256, 'hex')
from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(through)b::bigint[]) as w (gateway_id, epoch, through)
cross join lateral (
    select seq, payload_sha256 from batch
    where gateway_id = w.gateway_id and epoch = w.epoch and seq <= w.through
    order by seq desc limit 1
) b

-- name: keep
insert into delivery as d (gateway_id, epoch, through, highest)
select * from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(through)b::bigint[], %(highest)b::bigint[])
on conflict (gateway_id, epoch) do update set through = excluded.through, highest = greatest(d.highest, excluded.highest)
returning gateway_id, encode(epoch, 'hex'), highest

-- name: all
select gateway_id, encode(epoch, 'hex'), through, highest from delivery order by gateway_id, epoch

-- name: of_gateway
select gateway_id, encode(epoch, 'hex'), through, highest from delivery where gateway_id = %(gateway)b order by epoch
