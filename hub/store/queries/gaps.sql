-- name: keep
insert into batch_account (batch_no, expected, received, missed)
select * from unnest(%(batch_no)b::bigint[], %(expected)s::bigint[], %(received)s::bigint[], %(missed)b::jsonb[])
on conflict (batch_no) do nothing

-- name: silent
-- A window that begins after its predecessor's ended: the gateway was off, or says so of itself.
select gateway_id, encode(epoch, 'hex'), seq, ended, window_from
from (
    select
        gateway_id, epoch, seq, window_from, lag(window_to) over log as ended, lag(seq) over log as before
    from batch
    where %(gateway)s::text is null or gateway_id = %(gateway)s::text
    window log as (partition by gateway_id, epoch order by seq)
) w
where before = seq - 1 and window_from > ended
    and (%(start)s::timestamptz is null or window_from > %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or ended < %(end)s::timestamptz)
order by gateway_id, ended
limit %(limit)s::integer

-- name: due
select b.gateway_id, count(*), sum(a.expected)::bigint, sum(a.received)::bigint
from batch b join batch_account a using (batch_no)
where (%(gateway)s::text is null or b.gateway_id = %(gateway)s::text)
    and (%(start)s::timestamptz is null or b.window_to > %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or b.window_from < %(end)s::timestamptz)
group by b.gateway_id

-- name: missed
select b.gateway_id, m.key, sum(m.value::bigint)::bigint
from batch b join batch_account a using (batch_no) cross join lateral jsonb_each_text(a.missed) m
where (%(gateway)s::text is null or b.gateway_id = %(gateway)s::text)
    and (%(start)s::timestamptz is null or b.window_to > %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or b.window_from < %(end)s::timestamptz)
group by b.gateway_id, m.key
order by b.gateway_id, m.key
