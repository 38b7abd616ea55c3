"""What the API answers with. Times are RFC 3339 in UTC; units are UCUM codes."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from hub.store.deliveries import Delivery
from hub.store.derivations import Superseded
from hub.store.incidents import IncidentKind, Recorded
from hub.store.observations import Observation
from wire.reading import Quality


class QualityName(enum.StrEnum):
    """How far a value may be trusted (wire.reading.Quality).

    `implausible`: outside the device's plausible range, kept and marked. `below_range`, `above_range`: the true value
    lies at or beyond the one given. `no_sensor`, `invalid`, `sensor_fault`: there is no value.
    """

    GOOD = "good"
    IMPLAUSIBLE = "implausible"
    BELOW_RANGE = "below_range"
    ABOVE_RANGE = "above_range"
    NO_SENSOR = "no_sensor"
    INVALID = "invalid"
    SENSOR_FAULT = "sensor_fault"


class Order(enum.StrEnum):
    """Oldest first, or latest first."""

    ASC = "asc"
    DESC = "desc"


class Model(BaseModel):
    """Read from the store's rows by attribute."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class GatewayModel(Model):
    """An enrolled gateway."""

    gateway_id: str = Field(description="Its id, as in topics.", examples=["gw-binh-mau"])
    name: str = Field(description="Its name in the registry.", examples=["Nhà văn hóa ấp Bình Mẫu"])
    unit_code: str | None = Field(description="Code of its administrative unit.", examples=["sim-92001-01"])
    algorithm: str = Field(description="Algorithm of its enrolled key.", examples=["ed25519"])
    enrolled_at: datetime = Field(description="Since when its key counts.", examples=["2026-01-15T01:00:00Z"])
    revoked_at: datetime | None = Field(description="Since when nothing it signs is admitted.", examples=[None])
    first_heard_at: datetime | None = Field(
        description="When its first batch with a valid signature arrived here.", examples=["2026-01-15T01:02:03Z"]
    )
    last_heard_at: datetime | None = Field(description="When its latest one did.", examples=["2026-02-01T00:00:10Z"])
    sources: int = Field(description="How many sources it has, placed or discovered.", examples=[12])


class Missing(Model):
    """An inclusive range of sequence numbers."""

    first: int = Field(description="First missing sequence.", examples=[41])
    last: int = Field(description="Last missing sequence.", examples=[44])


class DeliveryModel(Model):
    """How far one epoch (the life of one spool) of a gateway's log has arrived."""

    epoch: str = Field(description="The epoch, sixteen hex digits.", examples=["9f86d081884c7d65"])
    through: int = Field(description="Every batch up to this sequence is stored or accounted for.", examples=[40])
    highest: int = Field(description="The highest sequence stored or accounted for.", examples=[60])
    broken: int | None = Field(
        description="The batch after `through`, when it is stored and follows another predecessor.", examples=[None]
    )
    missing: list[Missing] = Field(description="What lies between and is neither, lowest first, at most 100 ranges.")

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return the delivery as the API shows it."""
        ranges = [Missing(first=first, last=last) for first, last in delivery.holes()[0]]
        return cls(
            epoch=str(delivery.epoch),
            through=delivery.through,
            highest=delivery.highest,
            broken=delivery.broken or None,
            missing=ranges,
        )


class GatewayDetail(GatewayModel):
    """A gateway with the state of its deliveries."""

    deliveries: list[DeliveryModel] = Field(description="One for each epoch heard of.")


class MissingBatches(Missing):
    """Batches of one epoch that have not arrived, though later ones have, and that nothing accounts for."""

    epoch: str = Field(description="The epoch, sixteen hex digits.", examples=["9f86d081884c7d65"])


class SilenceModel(Model):
    """A time that no batch accounts for: the gateway was off."""

    epoch: str = Field(description="The epoch.", examples=["9f86d081884c7d65"])
    seq: int = Field(description="The first batch after it.", examples=[41])
    start: datetime = Field(description="Where the window before ended.", examples=["2026-02-01T00:00:00Z"])
    end: datetime = Field(description="Where the next one began.", examples=["2026-02-01T06:00:00Z"])


class AccountModel(Model):
    """What the gateway has declared lost: the hub asks for it no more, and counts it as a loss while it is not here."""

    epoch: str = Field(description="The epoch that it is lost of.", examples=["9f86d081884c7d65"])
    cause: str = Field(description="Why: evicted, damaged; unknown: the record is unreadable.", examples=["evicted"])
    certain: bool = Field(description="False: it may be lost; nobody will send it.", examples=[True])
    first: int | None = Field(description="First batch; null: readings that no batch held.", examples=[12])
    last: int | None = Field(description="Last batch.", examples=[15])
    readings: int | None = Field(description="Readings in it, where that is known.", examples=[800])
    missing: int = Field(description="Batches of it that are not here: the loss.", examples=[3])
    arrived: int = Field(description="Batches of it that are here all the same.", examples=[1])
    start: datetime | None = Field(
        description="Begin of the time that is lost, if known.", examples=["2026-02-01T00:00:00Z"]
    )
    end: datetime | None = Field(description="Its end, if known.", examples=["2026-02-01T06:00:00Z"])
    told_epoch: str = Field(description="Epoch of the batch that declares it.", examples=["9f86d081884c7d65"])
    told_seq: int = Field(description="Sequence of that batch.", examples=[77])
    told_at: datetime = Field(description="Where that batch's window ended.", examples=["2026-02-01T07:00:00Z"])


class GapsModel(Model):
    """A gateway's loss ledger."""

    gateway_id: str = Field(description="The gateway.", examples=["gw-binh-mau"])
    missing: list[MissingBatches] = Field(description="Batches not here; at most 100 ranges an epoch, lowest first.")
    silences: list[SilenceModel] = Field(description="Times unaccounted for, in order; at most 10,000.")
    batches: int = Field(description="Batches of the period that account for samples.", examples=[1440])
    expected: int = Field(description="Samples that sources owed in the period.", examples=[2880])
    received: int = Field(description="Samples that came.", examples=[2870])
    missed: dict[str, int] = Field(
        description="Samples that did not, by the reason that the gateway gave.", examples=[{"unknown": 10}]
    )
    accounts: list[AccountModel] = Field(description="What the gateway declared lost, in the order of telling.")
    lost_batches: int = Field(description="Batches declared lost and not here; each number once.", examples=[3])
    uncertain_batches: int = Field(description="Further batches that may be lost.", examples=[0])
    lost_readings: int = Field(description="Readings declared lost, at the least.", examples=[600])


class SourceModel(Model):
    """A source of readings on a gateway."""

    source_no: int = Field(description="Its number in this hub.", examples=[3])
    gateway_id: str = Field(description="Its gateway.", examples=["gw-binh-mau"])
    source_id: str = Field(
        description="Its id on the gateway: kind, colon, name.", examples=["lorawan:a840410000000001"]
    )
    name: str | None = Field(description="Its name in the registry.", examples=["Mực nước rạch Bình Mẫu"])
    kind: str | None = Field(description="Its kind in the registry.", examples=["water_level"])
    unit_code: str | None = Field(description="Code of its administrative unit.", examples=["sim-92001-01"])
    profile: str | None = Field(description="Its device profile.", examples=["dragino/ldds75"])
    latitude: float | None = Field(description="WGS 84, degrees north.", examples=[9.62])
    longitude: float | None = Field(description="WGS 84, degrees east.", examples=[106.15])
    placed: bool = Field(description="Whether the registry knows it; false: discovered in a batch.", examples=[True])
    readings: int = Field(description="Readings stored.", examples=[1440])
    undecoded: int = Field(description="Readings stored whose frame has no quantities yet.", examples=[2])
    last_received_at: datetime | None = Field(
        description="When the latest batch with a reading of it was stored.", examples=["2026-02-01T00:00:10Z"]
    )


class DatastreamModel(Model):
    """One observed property of one source, in one unit."""

    datastream_no: int = Field(description="Its number in this hub.", examples=[7])
    gateway_id: str = Field(description="The source's gateway.", examples=["gw-binh-mau"])
    source_id: str = Field(description="The source.", examples=["lorawan:a840410000000001"])
    source_name: str | None = Field(description="The source's name in the registry.", examples=["Mực nước rạch"])
    unit_code: str | None = Field(description="The source's administrative unit.", examples=["sim-92001-01"])
    observed_property: str = Field(description="What is observed.", examples=["water_distance"])
    unit: str = Field(description="UCUM code of the values' unit.", examples=["mm"])
    first_observed_at: datetime | None = Field(
        description="Time of its earliest observation.", examples=["2026-01-15T01:00:00Z"]
    )
    last_observed_at: datetime | None = Field(
        description="Time of its latest observation that did not lie in the future when it was stored.",
        examples=["2026-02-01T00:00:00Z"],
    )


class ObservationModel(Model):
    """One observation. Evidence: the reading of that index in that batch."""

    observed_at: datetime = Field(description="Time in the field.", examples=["2026-02-01T00:00:00Z"])
    observed_at_original: datetime | None = Field(
        description="What the gateway wrote down before its clock was set, where `observed_at` was derived from the "
        "setting that came later; else null.",
        examples=["1970-01-01T00:07:12Z"],
    )
    value: float | None = Field(
        description="The value; null where the quality says that there is none.", examples=[1234.5]
    )
    quality: QualityName = Field(description="How far the value may be trusted.", examples=["good"])
    time_uncertain: bool = Field(
        description="The gateway's clock had not been set when it wrote the time down, and nothing has told since.",
        examples=[False],
    )
    batch_no: int = Field(description="The batch that it was derived from.", examples=[815])
    reading_index: int = Field(
        description="Which reading of that batch, from 0. At or beyond the batch's number of readings: a record of a "
        "device's memory that only a later derivation found in one of its frames.",
        examples=[0],
    )
    derivation: int = Field(description="The derivation that gave the value; 0: as it was sealed.", examples=[0])

    @classmethod
    def of(cls, observation: Observation) -> Self:
        """Return the observation as the API shows it."""
        return cls(
            observed_at=observation.observed_at,
            observed_at_original=observation.observed_at_original,
            value=observation.value,
            quality=QualityName[Quality(observation.quality).name],
            time_uncertain=observation.time_uncertain,
            batch_no=observation.batch_no,
            reading_index=observation.reading_index,
            derivation=observation.derivation,
        )


class SupersededModel(Model):
    """An observation as it stood before a derivation replaced it. Its evidence has not changed."""

    superseded_no: int = Field(description="Its number in this hub, in order of superseding.", examples=[12])
    observed_at: datetime = Field(description="Time in the field.", examples=["2026-02-01T00:00:00Z"])
    value: float | None = Field(description="The value that stood; null where there was none.", examples=[12345.0])
    quality: QualityName = Field(description="How far it was trusted.", examples=["good"])
    time_uncertain: bool = Field(description="The gateway's clock had not been set.", examples=[False])
    batch_no: int = Field(description="The batch that it was derived from.", examples=[815])
    reading_index: int = Field(description="Which reading of that batch.", examples=[0])
    codec: str = Field(description="What had given it.", examples=["dragino/ldds75@0123456789abcdef"])
    derivation: int = Field(description="The derivation that had given it; 0: as it was sealed.", examples=[0])
    superseded_by: int = Field(description="The derivation that replaced it.", examples=[1])
    superseded_at: datetime = Field(description="When it was replaced.", examples=["2026-03-01T08:00:00Z"])
    why: str = Field(
        description="`redecoded`: the frame gives other quantities; `no_record`: it holds no such record; else why "
        "it is undecoded now.",
        examples=["redecoded"],
    )

    @classmethod
    def of(cls, superseded: Superseded) -> Self:
        """Return what was superseded as the API shows it."""
        fields = {name: getattr(superseded, name) for name in cls.model_fields}
        return cls(**fields | {"quality": QualityName[Quality(superseded.quality).name]})


class DerivationModel(Model):
    """One run of `xom hub redecode`: who derived what anew, with which library, and what it came to."""

    derivation_no: int = Field(description="Its number in this hub.", examples=[1])
    started_at: datetime = Field(description="When it began.", examples=["2026-03-01T08:00:00Z"])
    finished_at: datetime | None = Field(
        description="When it ended; null: under way, or interrupted.", examples=["2026-03-01T08:02:00Z"]
    )
    operator: str = Field(description="Who ran it: the account on the hub's machine.", examples=["an"])
    reason: str = Field(description="Why, in the operator's words.", examples=["LDDS75 was read ten times too high"])
    library_sha256: str = Field(description="SHA-256 of the codecs and quantities used.", examples=["9f86d08188"])
    version: str = Field(description="The program's version.", examples=["0.1.0"])
    period_from: datetime = Field(description="Begin of the period.", examples=["2026-01-01T00:00:00Z"])
    period_to: datetime = Field(description="End of the period.", examples=["2026-02-01T00:00:00Z"])
    gateway_id: str | None = Field(description="Only this gateway; null: all of them.", examples=[None])
    codec: str | None = Field(description="Only this codec; null: all of them.", examples=["dragino/ldds75"])
    gateways: list[str] = Field(description="The gateways of which frames were decoded.", examples=[["gw-binh-mau"]])
    frames: int = Field(description="Frames decoded anew.", examples=[44640])
    unchanged: int = Field(description="Those that give what they gave.", examples=[44000])
    changed: int = Field(description="Those that give other quantities or records.", examples=[630])
    newly_decoded: int = Field(description="Those that were undecoded before.", examples=[10])
    now_undecodable: int = Field(description="Those that are undecoded now.", examples=[0])
    undecided: int = Field(description="Those on which the codec met its limits: left as they were.", examples=[0])
    superseded: int = Field(description="Observations that were replaced.", examples=[640])


class BucketModel(Model):
    """What was observed in one bucket of time. `count` observations count; `excluded` ones do not."""

    start: datetime = Field(description="The bucket's first instant.", examples=["2026-01-31T17:00:00Z"])
    count: int = Field(description="Observations that count.", examples=[96])
    min: float | None = Field(description="The least value; null when nothing counts.", examples=[980.0])
    max: float | None = Field(description="The greatest value.", examples=[2210.0])
    mean: float | None = Field(description="The arithmetic mean of the values.", examples=[1583.2])
    first: float | None = Field(description="The earliest value.", examples=[1210.0])
    last: float | None = Field(description="The latest value.", examples=[1190.0])
    excluded: int = Field(description="Observations without a value, or with an implausible one.", examples=[1])


class IncidentModel(Model):
    """Something that went wrong on the line, with its evidence by hash. The same thing again raises `count`."""

    number: int = Field(description="Its number in this hub.", examples=[5])
    at: datetime = Field(description="When it happened first.", examples=["2026-02-01T00:00:00Z"])
    last_at: datetime = Field(description="When it happened last.", examples=["2026-02-01T00:05:00Z"])
    gateway_id: str | None = Field(description="The enrolled gateway concerned, if any.", examples=["gw-binh-mau"])
    kind: IncidentKind = Field(description="What happened.", examples=["conflict"])
    detail: str = Field(description="What was found.", examples=["sequence 12 came with another content"])
    epoch: str | None = Field(description="The epoch concerned.", examples=["9f86d081884c7d65"])
    seq: int | None = Field(description="The batch concerned.", examples=[12])
    count: int = Field(description="How often. Past the cap also others of this kind are counted here.", examples=[1])
    evidence_sha256: str | None = Field(description="SHA-256 of the evidence, in hex.", examples=[None])
    evidence_bytes: int | None = Field(description="How many bytes of evidence are kept.", examples=[2048])

    @classmethod
    def of(cls, incident: Recorded) -> Self:
        """Return the incident as the API shows it."""
        return cls(
            number=incident.number,
            at=incident.at,
            last_at=incident.last_at,
            gateway_id=incident.gateway,
            kind=incident.kind,
            detail=incident.detail,
            epoch=incident.epoch,
            seq=incident.seq,
            count=incident.count,
            evidence_sha256=incident.evidence_sha256.hex() if incident.evidence_sha256 else None,
            evidence_bytes=incident.evidence_bytes,
        )


class GatewayPage(Model):
    """Gateways by id."""

    items: list[GatewayModel] = Field(description="This page.")
    next: str | None = Field(description="`after` of the next page; null: this is the last.", examples=["gw-binh-mau"])


class SourcePage(Model):
    """Sources by number."""

    items: list[SourceModel] = Field(description="This page.")
    next: int | None = Field(description="`after` of the next page; null: this is the last.", examples=[100])


class DatastreamPage(Model):
    """Datastreams by number."""

    items: list[DatastreamModel] = Field(description="This page.")
    next: int | None = Field(description="`after` of the next page; null: this is the last.", examples=[100])


class ObservationPage(Model):
    """Observations in the order of time."""

    items: list[ObservationModel] = Field(description="This page.")
    next: str | None = Field(
        description="`after` of the next page, opaque; null: this is the last for now.",
        examples=["AAYtq3QAAAAAAAAAAAMvAAA"],
    )


class SupersededPage(Model):
    """What was superseded of a datastream, in that order."""

    items: list[SupersededModel] = Field(description="This page.")
    next: int | None = Field(description="`after` of the next page; null: this is the last.", examples=[100])


class DerivationPage(Model):
    """Derivations, latest first."""

    items: list[DerivationModel] = Field(description="This page.")
    next: int | None = Field(description="`before` of the next page; null: this is the last.", examples=[5])


class AggregatePage(Model):
    """Aggregates over equal buckets; buckets without any observation are left out."""

    bucket_s: int = Field(description="Length of a bucket, in seconds.", examples=[3600])
    items: list[BucketModel] = Field(description="The buckets, in order.")


class IncidentPage(Model):
    """Incidents, latest first."""

    items: list[IncidentModel] = Field(description="This page.")
    next: int | None = Field(description="`before` of the next page; null: this is the last.", examples=[5])


class Health(Model):
    """The process answers."""

    status: str = Field(description="Always ok.", examples=["ok"])


class Readiness(Model):
    """Whether the hub can do its work, and where not, why."""

    ready: bool = Field(description="Whether every check passes.", examples=[True])
    checks: dict[str, str] = Field(
        description="`ok` or the cause, for each of `database`, `migrations`, `broker`.",
        examples=[{"database": "ok", "migrations": "ok", "broker": "ok"}],
    )
