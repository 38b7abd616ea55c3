-- name: latest
select distinct on (s.unit_code, d.observed_property)
    coalesce(u.name, s.unit_code, s.gateway_id), coalesce(s.name, s.source_id), d.observed_property, d.unit,
    o.value, o.quality, o.observed_at
from datastream d
join source s using (source_no)
left join administrative_unit u on u.code = s.unit_code and u.valid_to is null
cross join lateral (
    select value, quality, observed_at from observation
    where datastream_no = d.datastream_no order by observed_at desc limit 1
) o
where d.observed_property = any(%(properties)s)
order by s.unit_code, d.observed_property, o.observed_at desc

-- name: states
-- The last word of each probe: its state, and those of its checks. A check that was not made again keeps its old time.
select
    coalesce(u.name, s.unit_code, s.gateway_id), s.source_id, d.observed_property, o.value::int, o.observed_at
from datastream d
join source s using (source_no)
left join administrative_unit u on u.code = s.unit_code and u.valid_to is null
cross join lateral (
    select value, observed_at from observation
    where datastream_no = d.datastream_no order by observed_at desc limit 1
) o
where right(d.observed_property, 6) = '_state' and o.value is not null
order by s.unit_code, s.source_id, d.observed_property
