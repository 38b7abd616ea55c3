-- name: ascending
select
    observed_at, value, quality & 63 as quality, batch_no, reading_index, observed_at_original,
    quality & 64 <> 0 and observed_at_original is null as time_uncertain
from (select *, case when quality & 64 <> 0 then (
    select t.observed_at from original_time t where t.batch_no = o.batch_no and t.reading_index = o.reading_index
) end as observed_at_original from observation o) o
where datastream_no = %(datastream)s::integer
    and (%(start)s::timestamptz is null or observed_at >= %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or observed_at < %(end)s::timestamptz)
    and (%(qualities)s::smallint[] is null or quality & 63 = any(%(qualities)s::smallint[]))
    and (%(after_at)s::timestamptz is null or (observed_at, batch_no, reading_index)
        > (%(after_at)s::timestamptz, %(after_batch)s::bigint, %(after_index)s::smallint))
order by observed_at, batch_no, reading_index
limit %(limit)s::integer

-- name: descending
select
    observed_at, value, quality & 63 as quality, batch_no, reading_index, observed_at_original,
    quality & 64 <> 0 and observed_at_original is null as time_uncertain
from (select *, case when quality & 64 <> 0 then (
    select t.observed_at from original_time t where t.batch_no = o.batch_no and t.reading_index = o.reading_index
) end as observed_at_original from observation o) o
where datastream_no = %(datastream)s::integer
    and (%(start)s::timestamptz is null or observed_at >= %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or observed_at < %(end)s::timestamptz)
    and (%(qualities)s::smallint[] is null or quality & 63 = any(%(qualities)s::smallint[]))
    and (%(after_at)s::timestamptz is null or (observed_at, batch_no, reading_index)
        < (%(after_at)s::timestamptz, %(after_batch)s::bigint, %(after_index)s::smallint))
order by observed_at desc, batch_no desc, reading_index desc
limit %(limit)s::integer

-- name: aggregates
-- 1 is IMPLAUSIBLE. The origin is a midnight in Viet Nam (UTC+7, no summer time since 1975), so that days are local days.
with one as (
    select
        date_bin(%(bucket)s::interval, observed_at, '2000-01-01 00:00+07') as start,
        observed_at, batch_no, reading_index, value, value is not null and quality & 63 <> 1 as counts
    from observation
    where datastream_no = %(datastream)s::integer
        and observed_at >= %(start)s::timestamptz and observed_at < %(end)s::timestamptz
)
select
    start,
    count(*) filter (where counts) as count,
    min(value) filter (where counts) as min,
    max(value) filter (where counts) as max,
    avg(value) filter (where counts) as mean,
    (array_agg(value order by observed_at, batch_no, reading_index) filter (where counts))[1] as first,
    (array_agg(value order by observed_at desc, batch_no desc, reading_index desc) filter (where counts))[1] as last,
    count(*) filter (where not counts) as excluded
from one
group by start
order by start
