"""From settings to probes. What cannot be probed is named here, at the start, not in the middle of the night."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import device_profiles
from codec.errors import ProfileError
from gateway.probes.probe import Probe
from gateway.probes.serial.bus import Bus
from gateway.probes.serial.gauge import NmeaGauge
from gateway.probes.serial.gnss import GnssReceiver
from gateway.probes.serial.instrument_map import InstrumentMap, read_instrument_map
from gateway.probes.serial.modbus import ModbusInstrument
from gateway.probes.serial.port import Line
from gateway.probes.serial.sdi12 import ADDRESS
from gateway.probes.serial.sensor import Sdi12Sensor
from gateway.probes.serial.settings import SerialBus, SerialInstrument
from gateway.probes.serial.steadiness import Steadiness
from gateway.probes.setup import Setup
from wire.configuration import ConfigError
from wire.identity import IdentityError, SourceId

LIBRARY = Path(device_profiles.__path__[0]) / "instruments"


def build(settings: Sequence[SerialBus], setup: Setup) -> list[Probe]:
    """Return the probes; raises ConfigError."""
    ports: dict[str, str] = {}
    probes: list[Probe] = []
    for bus in settings:
        _check(bus)
        if bus.port in ports:
            raise ConfigError(f"serial_bus {bus.name}: {bus.port} is {ports[bus.port]}'s: one port is one bus")
        ports[bus.port] = bus.name
        found = _probes(bus, setup)
        busy = sum(probe.deadline_s / probe.every_s for probe in found)
        if busy > 1:
            raise ConfigError(
                f"serial_bus {bus.name}: if all {len(found)} were dead, asking them would take {busy:.1f} times the "
                "time there is: raise every_s, or lower timeout_s, measure_s or retries"
            )
        probes += found
    return probes


def _check(bus: SerialBus) -> None:
    place = f"serial_bus {bus.name}"
    if not bus.port:
        raise ConfigError(f"{place}: port is missing, such as /dev/serial/by-path/… (`ls -l /dev/serial/by-path`)")
    for name in ("baud", "every_s", "timeout_s", "measure_s", "skew_s"):
        if getattr(bus, name) <= 0:
            raise ConfigError(f"{place}: {name} must be above 0")
    if bus.late_s < 0 or not 0 <= bus.retries <= 10:
        raise ConfigError(f"{place}: late_s must not be below 0, retries lie in 0 to 10")
    if bus.protocol == "gnss" and bus.instrument:
        raise ConfigError(f"{place}: a GNSS receiver has no instruments; leave them out")
    if bus.protocol != "gnss" and not bus.instrument:
        raise ConfigError(f"{place}: no [[serial_bus.instrument]] says what is on it")
    addresses = [one.address for one in bus.instrument]
    if bus.protocol != "nmea" and len(set(addresses)) != len(addresses):
        raise ConfigError(f"{place}: two instruments have one address")


def _probes(bus: SerialBus, setup: Setup) -> list[Probe]:
    line = Line.of(bus)
    device = f"serial:{bus.port}"
    if bus.protocol == "gnss":
        source = _source("gnss", bus.name)
        receiver = GnssReceiver(
            source=source,
            device=device,
            every_s=bus.every_s,
            line=line,
            listen_s=bus.timeout_s,
            skew_s=bus.skew_s,
            clock=setup.clock,
        )
        return [receiver]
    shared = Bus(line=line, late_s=bus.late_s, retries=bus.retries)
    return [_probe(bus, one, shared, device, setup) for one in bus.instrument]


def _probe(bus: SerialBus, one: SerialInstrument, shared: Bus, device: str, setup: Setup) -> Probe:
    source, meaning = _source("serial", one.name), _meaning(one)
    place = f"serial_bus.instrument {one.name}"
    every_s, timeout_s = one.every_s or bus.every_s, one.timeout_s or bus.timeout_s
    if every_s <= 0 or timeout_s <= 0:
        raise ConfigError(f"{place}: every_s and timeout_s must not be below 0")
    clock, steadiness = setup.clock, Steadiness(meaning.steady)
    if bus.protocol == "modbus-rtu":
        if not one.address.isdecimal() or not 1 <= int(one.address) <= 247:
            raise ConfigError(f"{place}: address {one.address!r} is none of 1 to 247")
        _need(meaning.blocks, place, one.map, "[[block]]")
        return ModbusInstrument(
            source=source, device=device, every_s=every_s, bus=shared, address=int(one.address), meaning=meaning,
            timeout_s=timeout_s, clock=clock, steadiness=steadiness,
        )  # fmt: skip
    if bus.protocol == "sdi-12":
        if not ADDRESS.fullmatch(one.address):
            raise ConfigError(f"{place}: address {one.address!r} is none of 0-9, A-Z, a-z")
        _need(meaning.measurements, place, one.map, "[[measurement]]")
        return Sdi12Sensor(
            source=source, device=device, every_s=every_s, line=shared.line, address=one.address, meaning=meaning,
            timeout_s=timeout_s, late_s=bus.late_s, retries=bus.retries, measure_s=bus.measure_s, clock=clock,
            steadiness=steadiness,
        )  # fmt: skip
    _need(meaning.sentences, place, one.map, "[[sentence]]")
    return NmeaGauge(
        source=source, device=device, every_s=every_s, line=shared.line, talker=one.address, meaning=meaning,
        listen_s=timeout_s, clock=clock, steadiness=steadiness,
    )  # fmt: skip


def _meaning(one: SerialInstrument) -> InstrumentMap:
    path = Path(one.map) if one.map.endswith(".toml") else LIBRARY / f"{one.map}.toml"
    try:
        return read_instrument_map(path)
    except ProfileError as error:
        raise ConfigError(f"serial_bus.instrument {one.name}: {error}") from error


def _need(asked: Sequence[object], place: str, name: str, table: str) -> None:
    if not asked:
        raise ConfigError(f"{place}: the map {name} has no {table}: it is for another protocol")


def _source(kind: str, name: str) -> SourceId:
    try:
        return SourceId.parse(f"{kind}:{name}")
    except IdentityError as error:
        raise ConfigError(f"serial_bus: {error}") from error
