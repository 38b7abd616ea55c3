-- name: begin
insert into derivation (operator, reason, library_sha256, version, period_from, period_to, gateway_id, codec)
values (%(operator)s, %(reason)s, %(library)b, %(version)s, %(start)s, %(end)s, %(gateway)s, %(codec)s)
returning derivation_no

-- name: count
update derivation set
    frames = frames + %(frames)s, unchanged = unchanged + %(unchanged)s, changed = changed + %(changed)s,
    newly_decoded = newly_decoded + %(newly_decoded)s, now_undecodable = now_undecodable + %(now_undecodable)s,
    undecided = undecided + %(undecided)s, superseded = superseded + %(superseded)s,
    gateways = case when %(gateway)s = any(gateways) then gateways else gateways || %(gateway)s::text end
where derivation_no = %(derivation)s

-- name: finish
update derivation set finished_at = clock_timestamp() where derivation_no = %(derivation)s

-- name: exclusive
select pg_try_advisory_lock(%(lock)s::bigint)

-- name: registered
select gateway_id, source_id, profile from source where profile is not null

-- name: logs
-- The logs with batches of the period, by their windows or by what they were dated to, in order of their first batch, and how much is to be read.
select b.gateway_id, encode(b.epoch, 'hex'), count(*)
from batch b
where (b.window_to > %(start)s and b.window_from < %(end)s or b.batch_no in (
        select batch_no from unset_batch where dated_to >= %(start)s and dated_from < %(end)s))
    and b.batch_no <= %(newest)s
    and (%(gateway)s::text is null or b.gateway_id = %(gateway)s::text)
group by b.gateway_id, b.epoch
order by b.gateway_id, min(b.batch_no)

-- name: newest
select coalesce(max(batch_no), 0) from batch

-- name: page
select batch_no, seq, readings from batch
where gateway_id = %(gateway)s and epoch = %(epoch)s and seq > %(after)s
    and (window_to > %(start)s and window_from < %(end)s or batch_no in (
        select batch_no from unset_batch where dated_to >= %(start)s and dated_from < %(end)s))
    and batch_no <= %(newest)s
order by seq
limit %(page)s

-- name: around
select seq, envelope from batch where gateway_id = %(gateway)s and epoch = %(epoch)s and seq = any(%(seqs)s::bigint[])

-- name: derived
select batch_no, readings from redecoded_batch where batch_no = any(%(batches)s::bigint[])

-- name: near
-- The batches in which a source's observations of a time stand; of a gateway with an unset clock, those that say that time.
select distinct o.batch_no
from source s join datastream d using (source_no) join observation o using (datastream_no)
where s.gateway_id = %(gateway)s and s.source_id = %(source)s
    and o.observed_at between timestamptz 'epoch' + %(from_ms)s * interval '1 millisecond'
        and timestamptz 'epoch' + %(to_ms)s * interval '1 millisecond'
union
select batch_no from unset_batch
where gateway_id = %(gateway)s
    and written_from <= timestamptz 'epoch' + %(to_ms)s * interval '1 millisecond'
    and written_to >= timestamptz 'epoch' + %(from_ms)s * interval '1 millisecond'

-- name: stored
select b.batch_no, encode(b.epoch, 'hex'), b.seq, b.envelope, r.readings
from batch b left join redecoded_batch r using (batch_no)
where b.batch_no = any(%(batches)s::bigint[])

-- name: supersede
-- Not an UPDATE: what stood goes aside, and another value may belong to another datastream.
with w as (
    select * from unnest(%(reading_index)s::smallint[], %(codec)s::text[], %(why)s::text[]) as w (reading_index, codec, why)
), gone as (
    delete from observation
    where datastream_no = any(%(datastreams)s::integer[]) and batch_no = %(batch_no)s
        and reading_index = any(%(reading_index)s::smallint[])
        and observed_at between %(from)s and %(to)s
    returning datastream_no, observed_at, value, quality, batch_no, reading_index
)
insert into superseded (datastream_no, observed_at, value, quality, batch_no, reading_index, codec, derivation_no,
    superseded_by, why)
select g.datastream_no, g.observed_at, g.value, g.quality, g.batch_no, g.reading_index, w.codec,
    coalesce(r.derivation_no, 0), %(derivation)s, w.why
from gone g join w using (reading_index)
left join redecoded_reading r on r.batch_no = g.batch_no and r.reading_index = g.reading_index
order by g.reading_index, g.datastream_no

-- name: keep_batch
insert into redecoded_batch (batch_no, derivation_no, readings) values (%(batch_no)s, %(derivation)s, %(readings)b)
on conflict (batch_no) do update set derivation_no = excluded.derivation_no, readings = excluded.readings

-- name: keep_readings
insert into redecoded_reading (batch_no, reading_index, derivation_no)
select %(batch_no)s, i, %(derivation)s from unnest(%(reading_index)s::smallint[]) as i
on conflict (batch_no, reading_index) do update set derivation_no = excluded.derivation_no

-- name: tally
update source_tally t set readings = t.readings + w.readings, undecoded = t.undecoded + w.undecoded
from unnest(%(source_no)s::integer[], %(readings)s::bigint[], %(undecoded)s::bigint[]) as w (source_no, readings, undecoded)
where t.source_no = w.source_no

-- name: last_batches
-- The newest batch with readings of each of these gateways.
select g.gateway_id, b.envelope
from unnest(%(gateways)s::text[]) as g (gateway_id)
cross join lateral (
    select envelope from batch where gateway_id = g.gateway_id and readings > 0 order by window_to desc, batch_no desc limit 1
) b

-- name: of_readings
select batch_no, reading_index, derivation_no from redecoded_reading where batch_no = any(%(batches)s::bigint[])

-- name: superseded
select
    superseded_no, observed_at, value, quality & 63 as quality, quality & 64 <> 0 as time_uncertain, batch_no, reading_index,
    codec, derivation_no as derivation, superseded_by, superseded_at, why
from superseded
where datastream_no = %(datastream)s
    and (%(start)s::timestamptz is null or observed_at >= %(start)s::timestamptz)
    and (%(end)s::timestamptz is null or observed_at < %(end)s::timestamptz)
    and superseded_no > %(after)s
order by superseded_no
limit %(limit)s

-- name: list
select
    derivation_no, started_at, finished_at, operator, reason, encode(library_sha256, 'hex') as library_sha256, version,
    period_from, period_to, gateway_id, codec, gateways, frames, unchanged, changed, newly_decoded, now_undecodable,
    undecided, superseded
from derivation
where %(before)s::bigint is null or derivation_no < %(before)s::bigint
order by derivation_no desc
limit %(limit)s
