-- name: counted
select gateway_id, count(*) from gap_account where gateway_id = any(%(gateway)b::text[]) group by gateway_id

-- name: keep
-- Told again, perhaps by a batch that came earlier: one row, whatever the order of arrival.
insert into gap_account as a (gateway_id, epoch, first, last, cause, told_ms, readings, from_ms, to_ms, certain, batch_no)
select * from unnest(
    %(gateway)b::text[], %(epoch)b::bytea[], %(first)s::bigint[], %(last)s::bigint[], %(cause)b::text[], %(told_ms)s::bigint[],
    %(readings)b::bigint[], %(from_ms)s::bigint[], %(to_ms)s::bigint[], %(certain)b::boolean[], %(batch_no)s::bigint[]
)
on conflict (gateway_id, epoch, last, first, cause, told_ms) do update set
    readings = greatest(a.readings, excluded.readings),
    from_ms = greatest(a.from_ms, excluded.from_ms),
    to_ms = greatest(a.to_ms, excluded.to_ms),
    certain = a.certain or excluded.certain,
    batch_no = least(a.batch_no, excluded.batch_no)

-- name: list
-- The time of an account is that of what is lost, where it is known, else that of the batch that tells of it.
select
    a.gateway_id, encode(a.epoch, 'hex'), a.cause, a.first, a.last, a.readings, a.certain,
    encode(b.epoch, 'hex'), b.seq, b.window_to, t.began, t.ended
from gap_account a
join batch b on b.batch_no = a.batch_no
cross join lateral (
    select
        case when a.to_ms > 0 then timestamptz 'epoch' + a.from_ms * interval '1 millisecond' end as began,
        case when a.to_ms > 0 then timestamptz 'epoch' + a.to_ms * interval '1 millisecond' end as ended
) t
where (%(gateway)s::text is null or a.gateway_id = %(gateway)s::text)
    and (%(start)s::timestamptz is null or coalesce(t.ended, b.window_to) > %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or coalesce(t.began, b.window_to) < %(end)s::timestamptz)
order by a.gateway_id, a.batch_no, a.epoch, a.first, a.last, a.cause, a.told_ms

-- name: held
-- How many batches of each range are here all the same, and their readings. The ranges do not overlap: one pass at most.
select w.at, b.batches, b.readings
from unnest(%(gateway)b::text[], %(epoch)b::bytea[], %(first)s::bigint[], %(last)s::bigint[])
    with ordinality as w (gateway_id, epoch, first, last, at)
cross join lateral (
    select count(*) as batches, coalesce(sum(readings), 0)::bigint as readings from batch
    where gateway_id = w.gateway_id and epoch = w.epoch and seq between w.first and w.last
) b
order by w.at
