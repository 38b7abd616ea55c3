"""What is published: a simulated hamlet's uplinks, written as ChirpStack writes them, and alarms among them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from bench.flood import Uplink
from simulators.chirpstack import Up, topic_of, write_json
from simulators.commune import SimGateway, build_commune
from simulators.faults import Faults
from simulators.simulation import Published, Simulation

_SEED = 1
_START_MS = 1_740_268_800_000  # 2025-02-23, as everywhere in the simulators
_STEP_MS = 600_000
_ALARM_MODEL = "milesight/em500-udl"
_ALARM_EVERY = 10

Key = tuple[str, int]  # DevEUI and frame counter: what names an uplink


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Messages, and the key of the uplink in each, in order."""

    uplinks: Sequence[Uplink]
    keys: Sequence[Key]
    alarms: frozenset[Key] = frozenset()

    def first(self, count: int) -> Load:
        """Return the load's beginning."""
        return Load(uplinks=self.uplinks[:count], keys=self.keys[:count], alarms=self.alarms)


def hamlet(seed: int = _SEED) -> SimGateway:
    """Return one gateway of the simulated commune, with eighteen sensors of five models."""
    return build_commune(seed, gateways=2, devices_per_hamlet=6).gateways[0]


def published(gateway: SimGateway, seed: int = _SEED) -> Iterator[Published]:
    """Yield a hamlet's uplinks without end, in order of publication."""
    simulation = Simulation(build_commune(seed, 2, 6), Faults(), _START_MS, gateways=frozenset({gateway.gateway_id}))
    while True:
        yield from (one for one in simulation.advance(simulation.now_ms + _STEP_MS) if isinstance(one.event, Up))
        simulation.take_oracle()


def flow(gateway: SimGateway) -> Iterator[tuple[Uplink, Key]]:
    """Yield a hamlet's uplinks without end, written out, each with its key."""
    for one in published(gateway):
        if isinstance(one.event, Up):
            yield _written(one.event), _key(one.event)


def render(count: int) -> Load:
    """Return so many uplinks, written out."""
    ups = [one.event for one in islice(published(hamlet()), count) if isinstance(one.event, Up)]
    return Load(uplinks=[_written(up) for up in ups], keys=[_key(up) for up in ups])


def render_with_alarms(count: int, every: int = _ALARM_EVERY) -> Load:
    """Return so many uplinks of which each `every`-th is an alarm of an EM500-UDL."""
    flow = (one.event for one in published(hamlet()) if isinstance(one.event, Up))
    calm: list[Up] = []
    loud: list[Up] = []
    while len(calm) < count or len(loud) * every < count:
        up = next(flow)
        (loud if up.device.device_profile_name == _ALARM_MODEL else calm).append(up)
    mixed = [_alarm(loud[at // every]) if at % every == 0 else calm[at] for at in range(count)]
    alarms = frozenset(_key(up) for up in mixed[::every])
    return Load(uplinks=[_written(up) for up in mixed], keys=[_key(up) for up in mixed], alarms=alarms)


def _alarm(up: Up) -> Up:
    """Turn a measurement into what the device sends at its threshold: channel 83 e9, value, change, code 1."""
    distance = up.data[-2:]
    return replace(up, data=b"\x83\xe9" + distance + b"\x64\x00\x01" + b"\x03\x82" + distance)


def _written(up: Up) -> Uplink:
    return Uplink(topic=topic_of(up), payload=write_json(up))


def _key(up: Up) -> Key:
    return up.device.dev_eui, up.f_cnt


def raw_of(uplink: Uplink) -> bytes:
    """Return the LoRaWAN payload inside a written uplink."""
    return base64.b64decode(msgspec.json.decode(uplink.payload)["data"])
