"""From settings to probes. What cannot be probed is named here, at the start, not in the middle of the night."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.probes.loudspeakers.axis import AxisAdapter
from gateway.probes.loudspeakers.cluster import Cluster
from gateway.probes.loudspeakers.finding import Adapter
from gateway.probes.loudspeakers.http_json import HttpAdapter
from gateway.probes.loudspeakers.mqtt_status import MqttAdapter
from gateway.probes.loudspeakers.settings import Broadcast, Loudspeaker
from gateway.probes.loudspeakers.sip import SipAdapter
from gateway.probes.loudspeakers.snmp import SnmpAdapter
from gateway.probes.probe import Probe
from gateway.probes.setup import Setup
from wire.configuration import ConfigError
from wire.identity import SourceId


def build(settings: Sequence[Loudspeaker], setup: Setup) -> list[Probe]:
    """Return the probes; raises ConfigError."""
    return [_cluster(one, setup) for one in settings]


def _cluster(one: Loudspeaker, setup: Setup) -> Cluster:
    place = f"loudspeaker {one.name!r}"
    if not SourceId.is_valid(f"loudspeaker:{one.name}"):
        raise ConfigError(f"{place}: a name has only a-z, 0-9, '.', '_', '-'")
    if not one.timeout_s >= 1.0 or one.timeout_s + 10.0 > one.every_s:
        raise ConfigError(f"{place}: timeout_s must be at least 1 and 10 s less than every_s")
    for broadcast in one.broadcast:
        _check_broadcast(broadcast, place)
    for axis in one.axis:
        if not (0 <= axis.test_from < axis.test_until <= 24 and axis.test_every_days >= 1):
            raise ConfigError(f"{place}: axis.test_from must be before axis.test_until, test_every_days 1 or more")
    if any(not http.url.startswith(("http://", "https://")) for http in one.http):
        raise ConfigError(f"{place}: http.url begins with http:// or https://")
    if any(not mqtt.topic or "#" in mqtt.topic or "+" in mqtt.topic for mqtt in one.mqtt):
        raise ConfigError(f"{place}: mqtt.topic is one topic, without # and +")
    adapters = _adapters(one, setup)
    _check_rungs(one, adapters, place)
    memory = setup.data / "loudspeakers" / f"{one.name}.json"
    return Cluster(settings=one, adapters=adapters, clock=setup.clock, memory=memory)


def _adapters(one: Loudspeaker, setup: Setup) -> tuple[Adapter, ...]:
    known, seen_s, sound_s = setup.credentials, one.seen_within_s, one.sound_within_days * 86_400
    adapters: list[Adapter] = []
    adapters += [SipAdapter(settings=sip, credentials=known, timeout_s=one.timeout_s) for sip in one.sip]
    adapters += [SnmpAdapter(settings=snmp, credentials=known, timeout_s=one.timeout_s) for snmp in one.snmp]
    adapters += [
        HttpAdapter(settings=http, credentials=known, seen_within_s=seen_s, sound_within_s=sound_s) for http in one.http
    ]
    adapters += [
        AxisAdapter(settings=axis, credentials=known, sound_within_s=sound_s, broadcasts=tuple(one.broadcast))
        for axis in one.axis
    ]
    adapters += [
        MqttAdapter(
            settings=mqtt, credentials=known, seen_within_s=seen_s, sound_within_s=sound_s, timeout_s=one.timeout_s
        )
        for mqtt in one.mqtt
    ]
    return tuple(adapters)


def _check_broadcast(broadcast: Broadcast, place: str) -> None:
    is_time = re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", broadcast.start)
    if not is_time or not broadcast.days or not all(1 <= day <= 7 for day in broadcast.days):
        raise ConfigError(f"{place}: a broadcast has days 1 (Monday) to 7 and a start such as 05:30")
    if not 1 <= broadcast.minutes <= 720:
        raise ConfigError(f"{place}: a broadcast's minutes lie between 1 and 720")


def _check_rungs(one: Loudspeaker, adapters: tuple[Adapter, ...], place: str) -> None:
    """A rung that nobody can speak about would stay empty for ever: say so now."""
    gives = {check for adapter in adapters for check in adapter.gives}
    signs = {sign for adapter in adapters for sign in adapter.signs}
    if one.broadcast and (signs or any(adapter.keeps_log for adapter in adapters)):
        gives |= {"play"} | ({"sound"} if "level" in signs else set())
    for rung in one.rungs:
        if rung not in gives:
            raise ConfigError(
                f"{place}: nothing configured can tell about {rung!r}; docs/probes/loudspeakers.md says what can"
            )
    if not {"reach", "link"} & set(one.rungs):
        raise ConfigError(f"{place}: rungs needs reach or link: a silent day has nothing else to say")
