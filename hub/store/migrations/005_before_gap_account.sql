-- What gateways have declared lost (decision 010), from the `gap` events of stored batches: derived, written with the batch.
-- The watermark passes over these ranges. `last` leads in the key: what lies above a watermark is one look-up.
create table gap_account (
    gateway_id text not null references gateway,
    epoch bytea not null check (length(epoch) = 8), -- of what is lost, not of the batch that tells of it
    last bigint not null,
    first bigint not null,               -- 0: readings that no batch held yet; they are counted, nothing is passed over
    cause text not null,
    told_ms bigint not null,             -- 0 for a range; else the event's time, which tells two such counts apart
    readings bigint,                     -- null: nobody knows
    from_ms bigint not null,             -- when it was measured, 0: unknown
    to_ms bigint not null,
    certain boolean not null,
    batch_no bigint not null,            -- the first batch that told of it
    primary key (gateway_id, epoch, last, first, cause, told_ms),
    check (first = 0 and last = 0 or first >= 1 and last >= first)
);
-- Superseded by the table above; kept so that the code of before goes on working.
alter table batch_account alter column gaps set default '[]';

alter table incident drop constraint incident_kind_check;
alter table incident add constraint incident_kind_check check (
    kind in ('conflict', 'chain_break', 'bad_signature', 'unknown_gateway', 'too_large', 'malformed', 'unknown_version',
             'wrong_topic', 'restored', 'new_epoch', 'salvaged', 'too_many_gaps'));
