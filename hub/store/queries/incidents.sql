-- name: lock
select pg_advisory_xact_lock(%(lock)b::bigint)

-- name: repeat
-- The same thing seen again is one incident with a higher count: its evidence is kept once.
update incident set count = count + 1, last_at = now()
where incident_no = (
    select incident_no from incident
    where gateway_id is not distinct from %(gateway)b::text and kind = %(kind)b::text
        and (epoch, seq, evidence_sha256) is not distinct from (%(epoch)b::bytea, %(seq)b::bigint, %(evidence_sha256)b::bytea)
        and (detail = %(detail)b::text or evidence_sha256 is not null)
    order by incident_no limit 1
)
returning incident_no

-- name: insert
insert into incident (at, last_at, gateway_id, kind, detail, epoch, seq, evidence, evidence_sha256)
select now(), now(), %(gateway)b::text, %(kind)b::text, %(detail)b::text, %(epoch)b::bytea, %(seq)b::bigint,
    %(evidence)b::bytea, %(evidence_sha256)b::bytea
where (
    select count(*) from incident where gateway_id is not distinct from %(gateway)b::text and kind = %(kind)b::text
) < %(cap)b::integer
returning incident_no

-- name: overflow
-- Past the cap only the count of the latest rises: a flood cannot fill the disk.
update incident set count = count + 1, last_at = now()
where incident_no = (
    select max(incident_no) from incident where gateway_id is not distinct from %(gateway)b::text and kind = %(kind)b::text
)

-- name: list
select incident_no, at, last_at, gateway_id, kind, detail, encode(epoch, 'hex'), seq, count, evidence_sha256, length(evidence)
from incident
where (%(gateway)s::text is null or gateway_id = %(gateway)s::text)
    and (%(kind)s::text is null or kind = %(kind)s::text)
    and (%(before)s::bigint is null or incident_no < %(before)s::bigint)
order by incident_no desc
limit %(limit)s::integer
