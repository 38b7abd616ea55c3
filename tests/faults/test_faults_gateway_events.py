"""G4: hostile ChirpStack events through a real gateway on a real broker: kept raw, refused or read by rule."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as hypothesis_seed

from bench import machine
from gateway.sources.chirpstack_events import MALFORMED
from gateway.status import Running, StatusFile
from tests.faults.gateway_bed import Bed, Sensors, bed
from tests.faults.gateway_broken import Switch
from tests.faults.harness import Case, poll, seed, trials
from tests.faults.hostile_events import CUT, DEVICE, READ, REFUSED, Hostile, hostile_events
from tests.real_mosquitto import Mosquitto
from wire.mqtt import Broker, Link, Terms
from wire.reading import Reading

pytestmark = pytest.mark.mosquitto
_PACK = 50
_GOOD = 20
_MOST_MB = 250


async def publish(events: list[Hostile], application: str, port: int) -> None:
    """Hand events to the broker, at QoS 1."""
    async with Link(Broker(port=port), Terms(client_id="hostile")) as link:
        await link.wait_connected()
        for start in range(0, len(events), _PACK):
            chosen = events[start : start + _PACK]
            await asyncio.gather(*(link.publish(one.topic(application), one.payload) for one in chosen))


def drawn(case: Case, count: int) -> list[Hostile]:
    """Events from the schema, replayed by the case's seed."""
    found: list[Hostile] = []

    @hypothesis_seed(case.seed)
    @given(hostile_events)
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    def collect(one: Hostile) -> None:
        found.append(one)

    collect()
    return found


def heard(gateway: Bed, events: int) -> Running:
    """The gateway's own word, once it has heard so many events."""

    def word() -> Running | None:
        assert gateway.running.poll() is None, f"the gateway ended: {gateway.said[-2000:]}"
        said = StatusFile(gateway.data / "status.json").read()
        return said if said is not None and said.events >= events else None

    return poll(f"{events} events heard", word, deadline_s=60)


def run_g4(case: Case, folder: Path, broker: Mosquitto, events: list[Hostile], *switches: Switch) -> set[bytes]:
    """Send good uplinks, hostile events, good uplinks; account for every one. Returns what was malformed."""
    with bed(folder, broker) as gateway:
        gateway.start(None, *switches)
        gateway.wait_until_it_hears()
        pid, sensors = gateway.running.pid, Sensors(broker.port, per_s=1)
        sensors.burst(_GOOD)
        asyncio.run(publish(events, gateway.village.application_id, broker.port))
        sensors.burst(_GOOD)
        total = len(events) + 2 * _GOOD
        word = heard(gateway, total)
        poll("the good ones behind them", lambda: len(good(gateway)) == 2 * _GOOD)
        kept = [one for one in gateway.readings() if ours(one)]
        ignored = sum(1 for one in events if not one.is_kept)
        case.trials += len(events)
        case.take(sensors.oracle.judge(good(gateway)))
        case.reached.update(outcomes(kept) | {"ignored": ignored, "repeated": word.repeated})
        assert word.events == total
        assert gateway.running.pid == pid
        assert "Traceback" not in gateway.said
        assert machine.peak_rss_mb(pid) < _MOST_MB
        case.lost += len(events) - ignored - len(kept) - word.repeated
        return {one.frame.raw for one in kept if one.frame.source == MALFORMED}


def good(gateway: Bed) -> list[tuple[str, int]]:
    return [key for key in gateway.kept() if key[0] != DEVICE]


def ours(reading: Reading) -> bool:
    return reading.frame.source in (MALFORMED, f"lorawan:{DEVICE}")


def outcomes(kept: list[Reading]) -> Counter[str]:
    return Counter("malformed" if one.frame.source == MALFORMED else "read" for one in kept)


def test_g4_every_hostile_event_is_read_refused_or_kept_raw_and_the_next_good_one_goes(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    case = Case(id="G4", seed=seed(44))
    run_g4(case, tmp_path, mosquitto, drawn(case, trials(400)))
    case.close(points=["malformed", "read", "ignored"])


def test_g4_the_named_events_end_as_the_rules_say(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = Case(id="G4-named", seed=seed(45))
    named = [*REFUSED.values(), *READ.values(), *CUT.values()]
    raw = run_g4(case, tmp_path, mosquitto, [*named, READ["port 0"], READ["port 0"]])
    assert case.reached == {"malformed": len(REFUSED) + len(CUT), "read": len(READ), "ignored": 0, "repeated": 2}
    assert raw >= {one.payload for one in REFUSED.values()}, "kept whole, as it came"
    [cut] = raw - {one.payload for one in REFUSED.values()}
    assert cut.startswith(b"cut from")
    case.close()


def test_g4_fails_when_what_cannot_be_read_is_dropped(tmp_path: Path, mosquitto: Mosquitto) -> None:
    case = Case(id="G4-broken-malformed_dropped", seed=46)
    run_g4(case, tmp_path, mosquitto, list(REFUSED.values()), Switch.MALFORMED_DROPPED)
    case.print()
    assert case.lost == len(REFUSED)
