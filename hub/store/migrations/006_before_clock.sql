-- Times that a gateway wrote down before its clock was set, and what its clock read once it was (decision 014). All derived
-- from the batch log, which keeps the times as they were written.

create table clock_setting (
    gateway_id text not null references gateway,
    boot text not null,
    monotonic_ms bigint not null, -- the boot clock at that moment
    wall_ms bigint not null,      -- the wall clock, which had been set by then
    batch_no bigint not null,     -- the batch that told of it first
    primary key (gateway_id, boot, monotonic_ms, wall_ms)
);

-- One row for each batch whose readings were taken with an unset clock.
create table unset_batch (
    batch_no bigint primary key,
    gateway_id text not null references gateway,
    boot text not null,
    first_monotonic_ms bigint not null,
    settled_monotonic_ms bigint,     -- the last setting that dates a reading of it; null: one of them has none yet
    settled_wall_ms bigint,
    settings integer not null,       -- how many settings that dating knew between the two
    written_from timestamptz not null,
    written_to timestamptz not null,
    dated_from timestamptz not null, -- where its observations stand now
    dated_to timestamptz not null
);
create index unset_batch_of on unset_batch (gateway_id, boot, batch_no);

-- What an observation's reading said, where `observed_at` says something else or has been confirmed.
create table original_time (
    batch_no bigint not null,
    reading_index smallint not null,
    observed_at timestamptz not null,
    primary key (batch_no, reading_index)
);

-- Boots whose unset batches must be looked at again, and how far that has come.
create table redating (
    gateway_id text not null references gateway,
    boot text not null,
    after_batch_no bigint not null,
    primary key (gateway_id, boot)
);
