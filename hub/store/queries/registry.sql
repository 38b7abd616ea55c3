-- name: lock
select pg_advisory_xact_lock(%(registry)b::bigint)

-- name: unit
insert into administrative_unit as u (code, name, kind, parent, valid_from, valid_to, successor)
values (%(code)s, %(name)s, %(kind)s, %(parent)s, %(valid_from)s, %(valid_to)s, %(successor)s)
on conflict (code, valid_from) do update set
    name = excluded.name, kind = excluded.kind, parent = excluded.parent, valid_to = excluded.valid_to,
    successor = excluded.successor
where (u.name, u.kind, u.parent, u.valid_to, u.successor)
    is distinct from (excluded.name, excluded.kind, excluded.parent, excluded.valid_to, excluded.successor)

-- name: gateway
insert into gateway as g (gateway_id, name, unit_code, algorithm, public_key, enrolled_at, revoked_at)
values (%(gateway_id)s, %(name)s, %(unit)s, %(algorithm)s, %(public_key)s, %(enrolled_at)s, %(revoked_at)s)
on conflict (gateway_id) do update set
    name = excluded.name, unit_code = excluded.unit_code, algorithm = excluded.algorithm,
    public_key = excluded.public_key, enrolled_at = excluded.enrolled_at, revoked_at = excluded.revoked_at
where (g.name, g.unit_code, g.algorithm, g.public_key, g.enrolled_at, g.revoked_at)
    is distinct from (excluded.name, excluded.unit_code, excluded.algorithm, excluded.public_key, excluded.enrolled_at,
                      excluded.revoked_at)

-- name: source
insert into source as s (gateway_id, source_id, name, kind, unit_code, profile, latitude, longitude, placed)
values (%(gateway)s, %(source_id)s, %(name)s, %(kind)s, %(unit)s, %(profile)s, %(latitude)s, %(longitude)s, true)
on conflict (gateway_id, source_id) do update set
    name = excluded.name, kind = excluded.kind, unit_code = excluded.unit_code, profile = excluded.profile,
    latitude = excluded.latitude, longitude = excluded.longitude, placed = true
where (s.name, s.kind, s.unit_code, s.profile, s.latitude, s.longitude, s.placed)
    is distinct from (excluded.name, excluded.kind, excluded.unit_code, excluded.profile, excluded.latitude,
                      excluded.longitude, true)

-- name: verifiers
select gateway_id, algorithm, public_key from gateway where revoked_at is null or revoked_at > now()
