-- A hub that finds out that it was restored says so (decision 009), and counts its starts to find out.
alter table incident drop constraint incident_kind_check;
alter table incident add constraint incident_kind_check check (
    kind in ('conflict', 'chain_break', 'bad_signature', 'unknown_gateway', 'too_large', 'malformed', 'unknown_version',
             'wrong_topic', 'restored'));
alter table hub_identity add column starts bigint not null default 0;
