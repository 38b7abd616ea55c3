-- What each batch says of its own completeness, derived at ingest: samples due, and gaps that the gateway knows of.
-- One row for a batch that says anything; none for one stored before this table, whose body still has it.
create table batch_account (
    batch_no bigint primary key,
    expected bigint not null,
    received bigint not null,
    missed jsonb not null, -- {"reason": samples}; "unknown" where none was given
    gaps jsonb not null    -- [{"cause", "first_seq", "last_seq", "readings"}] as the gateway's gap events say
);
