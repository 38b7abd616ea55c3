-- Observations that were derived anew from the raw frames, with a corrected codec or quantities file (decision 015).
-- No foreign keys: a derivation's number is written with what it derived, and only after it stands here.

-- Who derived what, when and with what: never deleted.
create table derivation (
    derivation_no integer generated always as identity primary key,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,             -- null: under way, or interrupted
    operator text not null,
    reason text not null,
    library_sha256 bytea not null check (length(library_sha256) = 32),
    version text not null,               -- of this program
    period_from timestamptz not null,
    period_to timestamptz not null,
    gateway_id text,                     -- null: all of them
    codec text,                          -- null: all of them
    gateways text[] not null default '{}', -- those of which something was derived
    frames bigint not null default 0,
    unchanged bigint not null default 0,
    changed bigint not null default 0,
    newly_decoded bigint not null default 0,
    now_undecodable bigint not null default 0,
    undecided bigint not null default 0, -- the codec met its limits: what stood was left
    superseded bigint not null default 0 -- observations that were replaced
);

-- The readings of a batch as they are derived now, where that is not as they were sealed.
create table redecoded_batch (
    batch_no bigint primary key,
    derivation_no integer not null,      -- the last that changed something
    readings bytea not null              -- hub.store.derived.pack
);

-- Which readings of those batches a derivation has changed.
create table redecoded_reading (
    batch_no bigint not null,
    reading_index smallint not null,     -- as sealed; from the batch's number of readings on: a record found anew
    derivation_no integer not null,
    primary key (batch_no, reading_index)
);

-- Observations as they stood before a derivation replaced them.
create table superseded (
    superseded_no bigint generated always as identity primary key,
    datastream_no integer not null,
    observed_at timestamptz not null,
    value double precision,
    quality smallint not null,
    batch_no bigint not null,
    reading_index smallint not null,
    codec text not null,                 -- what had given the value
    derivation_no integer not null,      -- likewise; 0: as sealed
    superseded_by integer not null,      -- the derivation that replaced it
    superseded_at timestamptz not null default now(),
    why text not null                    -- redecoded, no_record, or the reason why the frame is undecoded now
);
create index superseded_series on superseded (datastream_no, superseded_no);
