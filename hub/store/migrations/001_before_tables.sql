-- Where things stand: administrative units as a tree with validity dates. No level is built in: Viet Nam dropped one in 2025.
create table administrative_unit (
    code text not null,
    name text not null,
    kind text not null,
    parent text,
    valid_from date not null,
    valid_to date check (valid_to > valid_from),
    successor text,
    primary key (code, valid_from)
);
create index administrative_unit_parent on administrative_unit (parent);

create table gateway (
    gateway_id text primary key,
    name text not null default '',
    unit_code text,
    algorithm text not null check (algorithm in ('ed25519', 'ecdsa-p256')),
    public_key bytea not null,
    enrolled_at timestamptz not null,
    revoked_at timestamptz,
    first_heard_at timestamptz,
    last_heard_at timestamptz
);

create table source (
    source_no integer generated always as identity primary key,
    gateway_id text not null references gateway,
    source_id text not null,
    name text,
    kind text,
    unit_code text,
    profile text,
    latitude double precision check (latitude between -90 and 90),
    longitude double precision check (longitude between -180 and 180),
    placed boolean not null default false, -- false: discovered in a batch, not (yet) in the registry
    unique (gateway_id, source_id)
);

-- Updated once per commit group and source: room on the page keeps those updates off the indexes.
create table source_tally (
    source_no integer primary key references source,
    readings bigint not null,
    undecoded bigint not null,
    last_received_at timestamptz not null
) with (fillfactor = 50);

create table datastream (
    datastream_no integer generated always as identity primary key,
    source_no integer not null references source,
    observed_property text not null,
    unit text not null,
    first_observed_at timestamptz not null,
    last_observed_at timestamptz,
    unique (source_no, observed_property, unit)
) with (fillfactor = 50);

-- The log itself. Everything but this table and the registry can be rebuilt from it.
create table batch (
    batch_no bigint generated always as identity unique,
    gateway_id text not null references gateway,
    epoch bytea not null check (length(epoch) = 8),
    seq bigint not null check (seq >= 1),
    payload_sha256 bytea not null check (length(payload_sha256) = 32),
    prev_sha256 bytea not null check (length(prev_sha256) = 32),
    window_from timestamptz not null,
    window_to timestamptz not null,
    readings integer not null,
    envelope bytea not null,
    chain smallint not null check (chain in (0, 1, 2)), -- 0 pending (the one before is not here yet), 1 linked, 2 broken
    stored_at timestamptz not null default clock_timestamp(),
    primary key (gateway_id, epoch, seq)
);
alter table batch alter column envelope set storage external; -- deflated already: compressing again only costs time

create table delivery (
    gateway_id text not null references gateway,
    epoch bytea not null check (length(epoch) = 8),
    through bigint not null, -- every sequence up to this one is stored
    highest bigint not null, -- the highest sequence stored
    primary key (gateway_id, epoch)
) with (fillfactor = 50);

create table incident (
    incident_no bigint generated always as identity primary key,
    at timestamptz not null,
    last_at timestamptz not null,
    gateway_id text, -- null: nobody enrolled; the name that was claimed stands in the detail
    kind text not null check (kind in ('conflict', 'chain_break', 'bad_signature', 'unknown_gateway', 'too_large',
                                       'malformed', 'unknown_version', 'wrong_topic')),
    detail text not null,
    epoch bytea,
    seq bigint,
    evidence bytea,
    evidence_sha256 bytea,
    count bigint not null default 1
);
alter table incident alter column evidence set storage external;
create index incident_of on incident (gateway_id, kind, incident_no);

-- One row: which life of the hub this is. A restored hub starts a new one (wire.ack.Ack.incarnation).
create table hub_identity (
    one boolean primary key default true check (one),
    incarnation bigint not null,
    created_at timestamptz not null default clock_timestamp()
);
insert into hub_identity (incarnation) values ((extract(epoch from clock_timestamp()) * 1000)::bigint);
