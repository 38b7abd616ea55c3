"""What all rooms' tests share: a real Mosquitto, hypothesis without deadlines, a loud word about what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.hub_database import database, dsn, postgres  # noqa: F401 - here once: each place would have its own server
from tests.real_mosquitto import MISSING, PROGRAM, Mosquitto

# Shared machines stall: a slow example is no failure, and no test here asserts a time.
settings.register_profile("xom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xom")

_LEFT_OUT = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)  # after -k and -m have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if PROGRAM is not None:
        return
    left_out = [item for item in items if item.get_closest_marker("mosquitto")]
    for item in left_out:
        item.add_marker(pytest.mark.skip(reason=MISSING))
    config.stash[_LEFT_OUT] = len(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash.get(_LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(f"LEFT OUT: {left_out} tests marked mosquitto. {MISSING}", red=True, bold=True)


@pytest.fixture(autouse=True)
def own_log_settings() -> Iterator[None]:
    """A command tested in this process sends log lines to its captured standard error, which is closed afterwards."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running Mosquitto with default settings; change `acl` or `options` and `restart()` for others."""
    home = tmp_path / "mosquitto"
    home.mkdir()
    broker = Mosquitto(home)
    broker.start()
    yield broker
    broker.stop()
