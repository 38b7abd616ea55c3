"""B2: the broker comes back to a store that is cut, zeroed, empty or noise. It starts unattended, nothing is lost."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.broker_store import DAMAGES, DEPLOY, HOOK, damage, run_hook
from tests.faults.hub_world import enrol, field_gateway, gateway_config, home_below, running_hub, stored_readings, until
from tests.real_mosquitto import Mosquitto
from wire.keys import Algorithm, SigningKey

pytestmark = [pytest.mark.mosquitto, pytest.mark.postgres]
WAITING = 16  # a full window with the broker alone, in its queue and so in its store


async def lose_the_store(
    case: harness.Case, dsn: str, tmp_path: Path, mosquitto: Mosquitto, *, hook: bool = True
) -> None:  # fmt: skip
    """Leave batches with the broker alone, damage what it wrote down, start it as systemd does, and ask the oracle."""
    home, chance = home_below(tmp_path, "hub"), case.random
    key = SigningKey.read_or_make(home / "signing-key.pem", Algorithm.ED25519).public
    config = gateway_config(tmp_path, "gw-a", mosquitto.port, key)
    await enrol(dsn, config)
    async with field_gateway(config) as field:
        delivery = field.gateway.delivery
        for way in itertools.islice(itertools.cycle(DAMAGES), case.trials):
            async with running_hub(home, dsn, mosquitto.port):
                await field.produce()
                await until("the hub takes batches", lambda: field.confirmed)
            before = delivery.counters.sent
            await field.produce(batches=WAITING)
            await until("a window full of PUBACKs", lambda: delivery.counters.sent >= before + WAITING)  # noqa: B023
            mosquitto.stop()
            damage(mosquitto.home, way, chance)
            case.reached[way] += 1
            if hook:
                run_hook(mosquitto.home)
            mosquitto.start()
            async with running_hub(home, dsn, mosquitto.port):
                case.recovered(await until("everything confirmed", lambda: field.confirmed))
        case.take(field.oracle.judge(await stored_readings(dsn)))


async def test_b2_a_broker_with_a_damaged_store_starts_and_nothing_is_lost(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B2", seed=harness.seed(2), trials=harness.trials(3))
    await lose_the_store(case, dsn, tmp_path, mosquitto)
    case.close(points=["cut", "zeroed", "empty"])


async def test_b2_fails_without_the_start_up_hook(
    tmp_path: Path, dsn: str, mosquitto: Mosquitto
) -> None:  # fmt: skip
    case = harness.Case(id="B2-broken-no_hook", seed=2, trials=1)
    with pytest.raises(AssertionError, match="Mosquitto ended at once"):
        await lose_the_store(case, dsn, tmp_path, mosquitto, hook=False)


# ---- the hook by itself


def test_a_good_store_is_left_alone(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    before = (mosquitto.home / "mosquitto.db").read_bytes()
    assert run_hook(mosquitto.home) == ""
    assert (mosquitto.home / "mosquitto.db").read_bytes() == before
    assert before


def test_a_bad_store_is_kept_aside_and_three_of_them_at_most(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    for year in range(2020, 2025):
        (mosquitto.home / f"mosquitto.db.bad-{year}0101T000000Z").write_bytes(b"old")
    (mosquitto.home / "mosquitto.db").write_bytes(b"no store")
    assert "cannot be read" in run_hook(mosquitto.home)
    assert not (mosquitto.home / "mosquitto.db").exists()
    kept = sorted(mosquitto.home.glob("mosquitto.db.bad-*"))
    assert [one.read_bytes() for one in kept] == [b"old", b"old", b"no store"]


def test_without_a_store_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert run_hook(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_where_no_broker_can_start_the_store_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mosquitto.db").write_bytes(b"who knows")
    broken = home_below(tmp_path, "bin") / "mosquitto"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/usr/bin:/bin")
    assert "left as it is" in run_hook(tmp_path)
    assert (tmp_path / "mosquitto.db").read_bytes() == b"who knows"


def test_a_store_that_never_ends_to_be_read_is_bad(mosquitto: Mosquitto) -> None:
    """A pipe as the store: the broker opens it and waits for ever. It must not be handed the real one to wait for."""
    mosquitto.stop()
    store = mosquitto.home / "mosquitto.db"
    store.unlink()
    subprocess.run(["mkfifo", str(store)], check=True)
    assert "does not come to an end" in run_hook(mosquitto.home, patience_s=1)
    assert not store.exists()
    mosquitto.start()


def test_the_unit_runs_the_hook_before_every_start_and_never_gives_up() -> None:
    unit = (DEPLOY / "mosquitto.service.d" / "xom.conf").read_text(encoding="utf-8")
    assert re.search(rf"^ExecStartPre=-/usr/local/lib/xom/{HOOK.name} /var/lib/mosquitto$", unit, re.MULTILINE)
    assert "\nRestart=always\n" in unit
    for name in ("hub.conf", "gateway.conf"):
        settings = (DEPLOY / name).read_text(encoding="utf-8")
        assert re.search(r"^persistence_location /var/lib/mosquitto/$", settings, re.MULTILINE)
        assert not re.search(r"^persistence_file ", settings, re.MULTILINE), "the hook looks for mosquitto.db"
