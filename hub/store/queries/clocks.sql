-- name: settings
select gateway_id, boot, monotonic_ms, wall_ms
from unnest(%(gateway)b::text[], %(boot)b::text[]) as w (gateway_id, boot)
join clock_setting using (gateway_id, boot)

-- name: told
insert into clock_setting (gateway_id, boot, monotonic_ms, wall_ms, batch_no)
select * from unnest(
    %(gateway)b::text[], %(boot)b::text[], %(monotonic_ms)s::bigint[], %(wall_ms)s::bigint[], %(batch_no)s::bigint[]
)
on conflict (gateway_id, boot, monotonic_ms, wall_ms) do nothing

-- name: unset
insert into unset_batch (batch_no, gateway_id, boot, first_monotonic_ms, settled_monotonic_ms, settled_wall_ms, settings,
    written_from, written_to, dated_from, dated_to)
values (
    %(batch_no)s, %(gateway)s, %(boot)s, %(first_ms)s, %(settled_monotonic_ms)s, %(settled_wall_ms)s, %(settings)s,
    %(written_from)s, %(written_to)s, %(dated_from)s, %(dated_to)s
)
on conflict (batch_no) do update set
    first_monotonic_ms = excluded.first_monotonic_ms,
    settled_monotonic_ms = excluded.settled_monotonic_ms,
    settled_wall_ms = excluded.settled_wall_ms,
    settings = excluded.settings,
    written_from = excluded.written_from,
    written_to = excluded.written_to,
    dated_from = excluded.dated_from,
    dated_to = excluded.dated_to

-- name: forget
delete from original_time where batch_no = any(%(batch_no)s::bigint[])

-- name: originals
insert into original_time (batch_no, reading_index, observed_at)
select %(batch_no)s::bigint, i, timestamptz 'epoch' + at_ms * interval '1 millisecond'
from unnest(%(reading_index)s::smallint[], %(at_ms)s::bigint[]) as w (i, at_ms)

-- name: queue_told
-- A new setting may date what waits in its boot.
insert into redating (gateway_id, boot, after_batch_no)
select gateway_id, boot, 0 from unnest(%(gateway)b::text[], %(boot)b::text[]) as w (gateway_id, boot)
where exists (select from unset_batch u where u.gateway_id = w.gateway_id and u.boot = w.boot)
on conflict (gateway_id, boot) do update set after_batch_no = 0

-- name: queue_unset
-- A new batch may have been dated before a setting that another commit, or another batch of its own group, has brought.
insert into redating (gateway_id, boot, after_batch_no)
select distinct u.gateway_id, u.boot, 0 from unset_batch u
where u.batch_no = any(%(batch_no)s::bigint[]) and u.settings <> (
    select count(*) from clock_setting s
    where s.gateway_id = u.gateway_id and s.boot = u.boot and s.monotonic_ms >= u.first_monotonic_ms
        and (u.settled_monotonic_ms is null
            or (s.monotonic_ms, s.wall_ms) <= (u.settled_monotonic_ms, u.settled_wall_ms))
)
on conflict (gateway_id, boot) do update set after_batch_no = 0

-- name: queued
select gateway_id, boot, after_batch_no from redating order by gateway_id, boot limit 1

-- name: progress
select after_batch_no from redating where gateway_id = %(gateway)s and boot = %(boot)s

-- name: advance
update redating set after_batch_no = %(after)s where gateway_id = %(gateway)s and boot = %(boot)s

-- name: done
delete from redating where gateway_id = %(gateway)s and boot = %(boot)s

-- name: due
select u.batch_no, b.envelope, r.readings, u.settings, u.dated_from, u.dated_to
from unset_batch u join batch b using (batch_no) left join redecoded_batch r using (batch_no)
where u.gateway_id = %(gateway)s and u.boot = %(boot)s and u.batch_no > %(after)s and u.settings <> (
    select count(*) from clock_setting s
    where s.gateway_id = u.gateway_id and s.boot = u.boot and s.monotonic_ms >= u.first_monotonic_ms
        and (u.settled_monotonic_ms is null
            or (s.monotonic_ms, s.wall_ms) <= (u.settled_monotonic_ms, u.settled_wall_ms))
)
order by u.batch_no
limit %(page)s

-- name: standing
select u.batch_no, b.envelope, r.readings, u.settings, u.dated_from, u.dated_to
from unset_batch u join batch b using (batch_no) left join redecoded_batch r using (batch_no)
where u.batch_no = %(batch_no)s

-- name: remove
-- Not an UPDATE of the time: a hypertable's row cannot move to another chunk.
delete from observation
where datastream_no = any(%(datastreams)s::integer[]) and observed_at between %(dated_from)s and %(dated_to)s
    and batch_no = %(batch_no)s

-- name: extents
-- For datastreams whose observations have left a time that counted.
update datastream d set first_observed_at = coalesce(x.first, 'infinity'), last_observed_at = x.last
from unnest(%(datastreams)s::integer[]) as w (datastream_no)
cross join lateral (
    select
        (select o.observed_at from observation o
            where o.datastream_no = w.datastream_no and (o.quality & 64 = 0 or exists (
                select from original_time t where t.batch_no = o.batch_no and t.reading_index = o.reading_index))
            order by o.observed_at limit 1) as first,
        (select o.observed_at from observation o
            where o.datastream_no = w.datastream_no and o.observed_at <= now() + interval '1 hour'
                and (o.quality & 64 = 0 or exists (
                    select from original_time t where t.batch_no = o.batch_no and t.reading_index = o.reading_index))
            order by o.observed_at desc limit 1) as last
) x
where d.datastream_no = w.datastream_no

-- name: boots
select
    gateway_id, boot, count(*), count(*) filter (where settled_monotonic_ms is null),
    min(written_from), max(written_to), min(dated_from), max(dated_to)
from unset_batch
where %(gateway)s::text is null or gateway_id = %(gateway)s::text
group by gateway_id, boot
order by gateway_id, min(batch_no)

-- name: settings_of
select s.gateway_id, s.boot, s.monotonic_ms, timestamptz 'epoch' + s.wall_ms * interval '1 millisecond',
    encode(b.epoch, 'hex'), b.seq
from clock_setting s join batch b using (batch_no)
where %(gateway)s::text is null or s.gateway_id = %(gateway)s::text
order by s.gateway_id, s.boot, s.monotonic_ms, s.wall_ms
