-- The raw series: derived from `batch`, append-only. Column order leaves no padding: 32 bytes and a 24-byte header a row.
-- A foreign key to datastream would cost a look-up a row; the store writes only numbers that it has just resolved.
do $$
declare
    layout constant text := '(
        observed_at timestamptz not null,
        batch_no bigint not null,
        value double precision,          -- null where quality says that there is none
        datastream_no integer not null,
        quality smallint not null,       -- wire.reading.Quality, plus 64 where the gateway''s clock was not set
        reading_index smallint not null  -- which reading of the batch
    )';
begin
    if exists (select from pg_extension where extname = 'timescaledb') then
        execute 'create table observation ' || layout;
        perform create_hypertable('observation', 'observed_at',
                                  chunk_time_interval => interval '7 days', create_default_indexes => false);
    else
        -- Months get their own partition when their first observation arrives (hub/store/partitions.py).
        execute 'create table observation ' || layout || ' partition by range (observed_at)';
        create table observation_default partition of observation default;
    end if;
end
$$;
create index observation_series on observation (datastream_no, observed_at);
