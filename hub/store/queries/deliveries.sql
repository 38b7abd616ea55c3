-- name: above
-- What is stored above the old watermark, in pages; the batch table is the truth, the delivery row only saves the walk.
select w.gateway_id, encode(w.epoch, 'hex'), greatest(coalesce(d.through, 0), w.through), array(
    select b.seq from batch b
    where b.gateway_id = w.gateway_id and b.epoch = w.epoch and b.seq > greatest(coalesce(d.through, 0), w.through)
    order by b.seq limit %(page)b::integer
)
from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(through)b::bigint[]) as w (gateway_id, epoch, through)
left join delivery d using (gateway_id, epoch)

-- name: keep
insert into delivery as d (gateway_id, epoch, through, highest)
select * from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(through)b::bigint[], %(highest)b::bigint[])
on conflict (gateway_id, epoch) do update set through = excluded.through, highest = greatest(d.highest, excluded.highest)

-- name: all
select gateway_id, encode(epoch, 'hex'), through, highest from delivery order by gateway_id, epoch

-- name: of_gateway
select gateway_id, encode(epoch, 'hex'), through, highest from delivery where gateway_id = %(gateway)b order by epoch
