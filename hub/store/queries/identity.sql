-- name: mark
-- Where this database stands. The timeline is the name of its history: promotion and point-in-time recovery begin one.
select
    incarnation, starts, coalesce((select max(batch_no) from batch), 0),
    (select system_identifier::text from pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
from hub_identity

-- name: start
update hub_identity set starts = starts + 1

-- name: begin
-- Above both what this database remembers and what may have been announced from a database that is gone.
update hub_identity set
    incarnation = greatest(incarnation + 1, %(above)s::bigint + 1, %(at_ms)s::bigint),
    starts = greatest(starts, %(starts)s::bigint),
    created_at = %(at)s::timestamptz
returning incarnation
