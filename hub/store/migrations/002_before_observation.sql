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

-- Months-old chunks as columns: a twentieth of the space, read by series and time. The Apache edition of TimescaleDB has no
-- compression; then the hypertable stays as it is, and the log says so. Nothing is ever dropped: retention is a decision of
-- the operator (add_retention_policy), because the batch log can rebuild observations but not bring back disk space.
do $$
begin
    if exists (select from pg_extension where extname = 'timescaledb') then
        execute 'alter table observation set (timescaledb.compress,
                 timescaledb.compress_segmentby = ''datastream_no'', timescaledb.compress_orderby = ''observed_at'')';
        perform add_compression_policy('observation', interval '60 days');
    end if;
exception when others then
    raise warning 'observation is not compressed: %', sqlerrm;
end
$$;
