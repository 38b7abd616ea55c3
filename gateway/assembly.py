"""A whole gateway from its configuration: resources opened in order, one TaskGroup over the pipeline's verbs."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from codec.client import CodecWorker
from codec.device_map import read_map
from codec.engine import Limits
from codec.errors import ProfileError
from codec.profiles import DeviceProfile, ProfileLibrary
from gateway import pipeline
from gateway.clock import Clock, Instant
from gateway.config import Config, Device
from gateway.delivery.client import Delivery
from gateway.delivery.window import DeliveryWindow
from gateway.device_memory import DeviceMemory
from gateway.due import DueLedger
from gateway.probes.build import build as build_probes
from gateway.probes.probe import Probe
from gateway.probes.schedule import Schedule
from gateway.sources import chirpstack, concentrators
from gateway.sources.concentrators import ConcentratorSource
from gateway.spool.sealing import Rhythm, Sealer, start_event
from gateway.spool.spool import Spool
from gateway.spool.store import SpoolFile
from gateway.spool.views import Older
from gateway.status import StatusFile
from gateway.steps import StepFinder
from gateway.version import installed_version
from gateway.watchdog import Watchdog
from wire.batch import Software
from wire.configuration import ConfigError
from wire.identity import SourceId
from wire.keys import SigningKey
from wire.mqtt import Link
from wire.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """An assembled gateway: its parts are open, `run` starts it."""

    config: Config
    clock: Clock
    spool: Spool
    codecs: CodecWorker
    devices: pipeline.Devices
    source: chirpstack.ChirpStackSource | None
    concentrators: ConcentratorSource | None
    schedule: Schedule
    sealer: Sealer
    delivery: Delivery
    status: StatusFile

    async def run(self) -> None:
        """Run until cancelled. Anything that is not a known fault falls through, and the supervisor starts us again."""
        async with asyncio.TaskGroup() as tasks:
            if self.source is not None:
                carry = pipeline.carry(self.source, self.devices, self.codecs, self.spool, self.sealer)
                tasks.create_task(carry, name="carry")
                self._report(tasks, self.source.report, self.config.chirpstack.radio_report_s, "radio health")
            if self.concentrators is not None:
                tasks.create_task(self.concentrators.run(), name="concentrators")
                every_s = self.config.chirpstack.concentrator_report_s
                self._report(tasks, self.concentrators.report, every_s, "concentrator health")
            tasks.create_task(self.schedule.run(), name="probes")
            tasks.create_task(pipeline.note_codecs(self.codecs, self.spool, self.clock), name="note codecs")
            tasks.create_task(pipeline.seal_on_time(self.sealer, self.clock), name="seal")
            tasks.create_task(pipeline.deliver(self.delivery), name="deliver")
            keep = self.config.retention
            floor = pipeline.keep_floor(self.spool, self.clock, days=keep.days, megabytes=keep.megabytes)
            tasks.create_task(floor, name="keep floor")
            tasks.create_task(self.status.keep_written(self), name="status")
            watchdog = Watchdog.from_environment(os.environ)
            tasks.create_task(watchdog.keep_alive(self.spool.position), name="watchdog")

    def _report(
        self,
        tasks: asyncio.TaskGroup,
        report: Callable[[Instant], Iterable[Reading]],
        every_s: float,
        name: str,
    ) -> None:
        if every_s > 0:
            reporting = pipeline.report_health(report, self.spool, self.sealer, self.clock, every_s)
            tasks.create_task(reporting, name=name)


def key_path(config: Config) -> Path:
    """Where this gateway's signing key lies."""
    return config.gateway.data / "signing-key.pem"


def spool_path(config: Config) -> Path:
    """Where this gateway's spool lies."""
    return config.gateway.data / "spool.db"


@asynccontextmanager
async def assemble(config: Config, clock: Clock, also: Sequence[Probe] = ()) -> AsyncIterator[Gateway]:
    """Open everything; `also` are probes beside those of the configuration.

    Raises ConfigError, ProfileError, SpoolError, KeyProblem before anything has started.
    """
    library = ProfileLibrary(config.codecs.library)
    intervals, profiles = configured_devices(config, library)
    key = _signing_key(config)
    spool = Spool(SpoolFile(spool_path(config), config.gateway.id, key, config.spool.room()))
    hub = config.hub.verifier_key().verifier()
    version = installed_version()
    limits = Limits(cpu_s=config.codecs.cpu_ms / 1000)
    probes = [*build_probes(config, clock), *also]
    memory = DeviceMemory(config.gateway.data / "devices.db")
    async with spool, memory, CodecWorker(library, limits=limits, firmware=memory.firmware) as codecs:
        position, now = await spool.position(), clock.now()
        await spool.note(start_event(now, position))
        window = DeliveryWindow(
            epoch=position.epoch,
            through=position.through,
            highest=position.last_seq,
            incarnation=position.incarnation,
            size=config.hub.window,
            resend_s=config.hub.resend_s,
        )
        for seq in await spool.urgent_after(position.through):
            window.seal(seq, urgent=True)
        delivery = Delivery(
            gateway=config.gateway.id,
            spool=spool,
            window=window,
            older=[_backlog(config, one) for one in await spool.older()],
            hub=hub,
            broker=config.hub.broker(),
            version=version,
            keep_alive_s=config.hub.keep_alive_s,
            publish_window=config.hub.window,
        )
        sealer = Sealer(
            gateway=config.gateway.id,
            spool=spool,
            rhythm=Rhythm(
                every_s=config.seal.every_s, idle_s=config.seal.idle_s, most_readings=config.seal.most_readings
            ),
            software=Software(version, library.library_hash[:16], config.fingerprint),
            due=DueLedger(intervals | {probe.source: probe.every_s for probe in probes}, now.wall_ms),
            sealed=delivery.take,
            started_at_ms=now.wall_ms,
            largest=delivery.largest_batch,
            steps=StepFinder(now),
            unsynchronised_s=config.seal.unsynchronised_s,
        )
        delivery.end_epoch = sealer.end_epoch
        schedule = Schedule(
            probes=probes,
            clock=clock,
            keep=functools.partial(pipeline.keep_own, spool, sealer),
            concurrency=config.probes.concurrency,
        )
        async with delivery, _chirpstack(config, clock) as source, _concentrators(config) as heard:
            yield Gateway(
                config=config,
                clock=clock,
                spool=spool,
                codecs=codecs,
                devices=pipeline.Devices(profiles=profiles, intervals_s=intervals, library=library, memory=memory),
                source=source,
                concentrators=heard,
                schedule=schedule,
                sealer=sealer,
                delivery=delivery,
                status=StatusFile(config.gateway.data / "status.json"),
            )


@asynccontextmanager
async def _chirpstack(config: Config, clock: Clock) -> AsyncIterator[chirpstack.ChirpStackSource | None]:
    if not config.chirpstack.enabled:
        yield None
        return
    terms = chirpstack.terms(f"xom-{config.gateway.id}", config.chirpstack.application)
    async with Link(config.chirpstack.broker(), terms) as link:
        yield chirpstack.ChirpStackSource(link, clock, config.chirpstack.largest_event_bytes)


@asynccontextmanager
async def _concentrators(config: Config) -> AsyncIterator[ConcentratorSource | None]:
    if not config.chirpstack.enabled or config.chirpstack.concentrator_report_s <= 0:
        yield None
        return
    terms = concentrators.terms(f"xom-concentrators-{config.gateway.id}")
    async with Link(config.chirpstack.broker(), terms) as link:
        yield ConcentratorSource(link)


def _backlog(config: Config, older: Older) -> DeliveryWindow:
    """What a damaged card left of an earlier epoch."""
    return DeliveryWindow(
        epoch=older.epoch,
        through=older.through,
        highest=older.last_seq,
        incarnation=older.incarnation,
        size=max(1, config.hub.window // 4),
        resend_s=config.hub.resend_s,
    )


def _signing_key(config: Config) -> SigningKey:
    """Read the key, or make one at the first start; raises ConfigError, KeyProblem.

    Beside a spool a missing key is a fault: a new one would break the chain, and the hub would refuse every batch.
    """
    path = key_path(config)
    if spool_path(config).exists() and not path.exists():
        raise ConfigError(f"there is a spool but no signing key at {path}: restore the file from its backup")
    return SigningKey.read_or_make(path, config.gateway.algorithm)


def _with_map(device: Device, profile: DeviceProfile, library: ProfileLibrary) -> str:
    """Return the name of a device's profile, with its own map where it has one; raises ConfigError."""
    if not device.map:
        if profile.device_map == "required":
            raise ConfigError(
                f"device {device.dev_eui}: map is missing: the frames of {profile.title} do not say what its numbers "
                "mean, a map does (docs/devices.md)"
            )
        return device.profile
    own = device.map.endswith(".toml")
    path = Path(device.map) if own else library.root / "maps" / f"{device.map}.toml"
    try:
        return library.with_map(device.profile, read_map(path))
    except ProfileError as error:
        raise ConfigError(f"device {device.dev_eui}: {error}") from error


def configured_devices(config: Config, library: ProfileLibrary) -> tuple[dict[SourceId, float], dict[SourceId, str]]:
    """Return each configured device's interval, s, and profile; raises ConfigError for an unknown profile."""
    intervals: dict[SourceId, float] = {}
    profiles: dict[SourceId, str] = {}
    if not (library.root / "vendors").is_dir():
        raise ConfigError(
            f"codecs.library: there is no device library at {library.root} (a folder with vendors/ in it)"
        )
    for device in config.device:
        if device.profile not in library:
            raise ConfigError(
                f"device {device.dev_eui}: no profile {device.profile!r}; `xom profile list` shows what there is"
            )
        try:
            profile = library.profile(device.profile)
        except ProfileError as error:
            raise ConfigError(f"device {device.dev_eui}: {error}") from error
        source = device.dev_eui.source
        profiles[source] = _with_map(device, profile, library)
        intervals[source] = float(profile.interval_s if device.interval_s is None else device.interval_s)
    return intervals, profiles
