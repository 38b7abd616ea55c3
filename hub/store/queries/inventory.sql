-- name: gateways
select
    g.gateway_id, g.name, g.unit_code, g.algorithm, g.enrolled_at, g.revoked_at, g.first_heard_at, g.last_heard_at,
    (select count(*) from source s where s.gateway_id = g.gateway_id) as sources
from gateway g
where (%(gateway)s::text is null or g.gateway_id = %(gateway)s::text)
    and (%(after)s::text is null or g.gateway_id > %(after)s::text)
order by g.gateway_id
limit %(limit)s::integer

-- name: sources
select
    s.source_no, s.gateway_id, s.source_id, s.name, s.kind, s.unit_code, s.profile, s.latitude, s.longitude, s.placed,
    coalesce(t.readings, 0) as readings, coalesce(t.undecoded, 0) as undecoded, t.last_received_at
from source s
left join source_tally t using (source_no)
where (%(gateway)s::text is null or s.gateway_id = %(gateway)s::text)
    and (%(unit)s::text is null or s.unit_code = %(unit)s::text)
    and (%(placed)s::boolean is null or s.placed = %(placed)s::boolean)
    and s.source_no > %(after)s::bigint
order by s.source_no
limit %(limit)s::integer

-- name: datastreams
select
    d.datastream_no, s.gateway_id, s.source_id, s.name as source_name, s.unit_code, d.observed_property, d.unit,
    nullif(d.first_observed_at, 'infinity') as first_observed_at, d.last_observed_at
from datastream d
join source s using (source_no)
where (%(datastream)s::bigint is null or d.datastream_no = %(datastream)s::bigint)
    and (%(gateway)s::text is null or s.gateway_id = %(gateway)s::text)
    and (%(source)s::text is null or s.source_id = %(source)s::text)
    and (%(observed_property)s::text is null or d.observed_property = %(observed_property)s::text)
    and (%(unit)s::text is null or s.unit_code = %(unit)s::text)
    and d.datastream_no > %(after)s::bigint
    -- One that only a fault of a codec had, corrected since, is shown to whoever names it (decision 015).
    and (d.first_observed_at <> 'infinity' or %(datastream)s::bigint is not null
        or exists (select from observation o where o.datastream_no = d.datastream_no))
order by d.datastream_no
limit %(limit)s::integer
