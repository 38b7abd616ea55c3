-- name: sources
select w.gateway_id, w.source_id, s.source_no
from unnest(%(gateway)b::text[], %(source)b::text[]) as w (gateway_id, source_id)
join source s using (gateway_id, source_id)

-- name: discover
insert into source (gateway_id, source_id)
select * from unnest(%(gateway)b::text[], %(source)b::text[])
returning gateway_id, source_id, source_no

-- name: datastreams
select d.source_no, d.observed_property, d.unit, d.datastream_no
from unnest(%(source_no)b::integer[], %(observed_property)b::text[], %(unit)b::text[]) as w (source_no, observed_property, unit)
join datastream d using (source_no, observed_property, unit)

-- name: begin
insert into datastream (source_no, observed_property, unit, first_observed_at)
select w.*, 'infinity'
from unnest(%(source_no)b::integer[], %(observed_property)b::text[], %(unit)b::text[]) as w
returning source_no, observed_property, unit, datastream_no

-- name: extend
-- A time in the future is a gateway's wrong clock: it must not hide every later observation behind it.
update datastream d set
    first_observed_at = least(d.first_observed_at, w.first),
    last_observed_at = greatest(d.last_observed_at, case when w.last <= now() + interval '1 hour' then w.last end)
from (
    select
        datastream_no,
        timestamptz 'epoch' + first_ms * interval '1 millisecond' as first,
        timestamptz 'epoch' + last_ms * interval '1 millisecond' as last
    from unnest(%(datastream_no)s::integer[], %(first_ms)s::bigint[], %(last_ms)s::bigint[]) as u (datastream_no, first_ms, last_ms)
) w
where d.datastream_no = w.datastream_no

-- name: tally
insert into source_tally as t (source_no, readings, undecoded, last_received_at)
select w.*, now() from unnest(%(source_no)s::integer[], %(readings)s::bigint[], %(undecoded)s::bigint[]) as w
on conflict (source_no) do update set
    readings = t.readings + excluded.readings,
    undecoded = t.undecoded + excluded.undecoded,
    last_received_at = excluded.last_received_at
