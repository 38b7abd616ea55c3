"""From the file to probes, and what is counted of a line's data."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.clock import Instant, SystemClock
from gateway.config import read
from gateway.probes.credentials import Credentials
from gateway.probes.network.budget import Budget
from gateway.probes.network.build import build
from gateway.probes.network.internet import InternetProbe
from gateway.probes.network.mobile import MobileProbe
from gateway.probes.network.settings import Internet, Line, Modem, Page, Wifi
from gateway.probes.setup import Setup
from wire.configuration import ConfigError
from wire.reading import ClockState

SAMPLE = Path(__file__).parents[4] / "samples" / "gateway.toml"
LATE_NOVEMBER_MS = 1_796_057_999_000  # 2026-11-30T23:59:59+07:00
ON = Internet(enabled=True)


def setup(folder: Path) -> Setup:
    return Setup(credentials=Credentials(None), clock=SystemClock(), data=folder)


def test_the_sample_gives_a_probe_of_each_kind(tmp_path: Path) -> None:
    config = read(SAMPLE)
    probes = build(config.internet, config.modem, config.wifi, setup(tmp_path))
    assert [str(one.source) for one in probes] == ["internet:cap-quang", "mobile:viettel", "wifi:nha-van-hoa"]
    assert all(one.rungs and one.deadline_s <= one.every_s for one in probes)


def test_without_lines_the_default_route_is_one_and_disabled_is_none(tmp_path: Path) -> None:
    assert [str(one.source) for one in build(ON, [], [], setup(tmp_path))] == ["internet:main"]
    assert build(Internet(), [], [], setup(tmp_path)) == []


def test_two_probes_of_one_sim_share_its_budget(tmp_path: Path) -> None:
    internet = msgspec.structs.replace(ON, line=[Line(name="sim", interface="wwan0", data_mb_per_month=90)])
    modem = Modem(name="viettel", device="/dev/ttyUSB2", interface="wwan0", data_mb_per_month=60)
    line, mobile = build(internet, [modem], [], setup(tmp_path))
    assert isinstance(line, InternetProbe)
    assert isinstance(mobile, MobileProbe)
    assert mobile.way is line.way
    assert line.way.budget.limit_bytes == 60_000_000


@pytest.mark.parametrize(
    ("internet", "modems", "wifis", "word"),
    [
        (msgspec.structs.replace(ON, resolvers=("one.one",)), [], [], "one.one"),
        (msgspec.structs.replace(ON, resolvers=("1.1.1.1:x",)), [], [], "address:port"),
        (msgspec.structs.replace(ON, resolvers=()), [], [], "resolvers"),
        (msgspec.structs.replace(ON, targets=("https://a",)), [], [], "tls://"),
        (msgspec.structs.replace(ON, page=[Page(url="https://a/")]), [], [], "plain http"),
        (msgspec.structs.replace(ON, page=[]), [], [], "page"),
        (msgspec.structs.replace(ON, connects=0), [], [], "connects"),
        (msgspec.structs.replace(ON, hostname="a..b"), [], [], "host name"),
        (msgspec.structs.replace(ON, line=[Line(name="Sợi quang")]), [], [], "internet"),
        (msgspec.structs.replace(ON, line=[Line(name="a", interface="../../etc/x")]), [], [], "interface"),
        (msgspec.structs.replace(ON, line=[Line(name="a", data_mb_per_month=-1)]), [], [], "below 0"),
        (ON, [Modem(name="a")], [], "device"),
        (ON, [Modem(name="a", device="/dev/x", weak_dbm=-90)], [], "weak_dbm"),
        (ON, [], [Wifi(name="a", ssid="x")], "radio"),
        (ON, [], [Wifi(name="a", radio="wlan1")], "ssid"),
        (ON, [], [Wifi(name="a", radio="wlan1", ssid="x" * 33)], "32 bytes"),
    ],
)
def test_what_cannot_be_probed_is_named_at_the_start(
    tmp_path: Path, internet: Internet, modems: list[Modem], wifis: list[Wifi], word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        build(internet, modems, wifis, setup(tmp_path))


class Standing:
    """A clock where a test puts it."""

    def __init__(self, wall_ms: int) -> None:
        self.wall_ms, self.state = wall_ms, ClockState.NTP

    def now(self) -> Instant:
        return Instant(self.wall_ms, 0, "5" * 16, self.state)

    async def sleep(self, seconds: float) -> None:
        """Never asked for."""


def test_a_months_data_is_kept_over_a_restart_and_new_in_the_next_month(tmp_path: Path) -> None:
    clock, path = Standing(LATE_NOVEMBER_MS), tmp_path / "spent.json"
    budget = Budget(clock, 1_000, path)
    budget.spend(1_000)
    budget.save()
    again = Budget(clock, 1_000, path)
    assert again.used_up
    clock.wall_ms += 2_000  # 1 December in Viet Nam, still November in UTC
    assert (again.used_up, again.spent_bytes) == (False, 0)


def test_a_clock_that_is_not_set_or_put_back_gives_no_data_away(tmp_path: Path) -> None:
    clock = Standing(LATE_NOVEMBER_MS)
    budget = Budget(clock, 1_000)
    budget.spend(1_000)
    clock.wall_ms, clock.state = 0, ClockState.NONE
    assert budget.used_up
    clock.state = ClockState.NTP
    assert budget.used_up


def test_a_broken_file_starts_the_count_anew(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    path.write_bytes(b"\x00" * 20)
    assert Budget(Standing(LATE_NOVEMBER_MS), 1_000, path).spent_bytes == 0


def test_without_a_limit_nothing_is_written(tmp_path: Path) -> None:
    budget = Budget(Standing(LATE_NOVEMBER_MS), 0, tmp_path / "spent.json")
    budget.spend(5_000)
    budget.save()
    assert not list(tmp_path.iterdir())
    assert not budget.used_up
