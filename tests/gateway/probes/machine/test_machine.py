"""The machine itself, read from a built /sys and /proc: what is there is judged, what is not is never called good."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from gateway.clock import Instant, SystemClock
from gateway.probes.credentials import Credentials
from gateway.probes.machine.boots import noted
from gateway.probes.machine.build import build
from gateway.probes.machine.clock import ClockWatch, Discipline
from gateway.probes.machine.disk import Disk
from gateway.probes.machine.settings import Machine
from gateway.probes.outcome import Outcome, Reason, State
from gateway.probes.schedule import Schedule
from gateway.probes.setup import Setup
from wire.configuration import ConfigError
from wire.reading import ClockState, Reading

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
MAINS = {"sys/class/power_supply/ac/type": "Mains", "sys/class/power_supply/ac/online": "1"}
BATTERY = {"sys/class/power_supply/ups/type": "Battery", "sys/class/power_supply/ups/capacity": "90"}
CARD = {"sys/block/mmcblk0/device/life_time": "0x01 0x02", "sys/block/mmcblk0/device/pre_eol_info": "0x01"}
NOW_MS = 1_768_435_200_000
Tree = dict[str, str]


class Standing:
    """A clock that stands at one moment of one boot."""

    def __init__(self, boot: str = "b1", at_ms: int = NOW_MS) -> None:
        self._now = Instant(at_ms, 60_000, boot, ClockState.NTP)

    def now(self) -> Instant:
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Never waits."""


async def discard(_: list[Reading]) -> None:
    """Keep nothing."""


def planted(root: Path, tree: Tree) -> Path:
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


async def looked(
    folder: Path, name: str, tree: Tree, settings: Machine | None = None, clock: Standing | None = None
) -> Outcome:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    setup = Setup(credentials=Credentials(None), clock=clock or Standing(), data=data)
    probes = build(settings or Machine(), setup, planted(folder / "root", tree))
    (probe,) = (one for one in probes if str(one.source) == f"machine:{name}")
    return await Schedule(probes=[probe], clock=SystemClock(), keep=discard).once(probe)


def values(outcome: Outcome) -> dict[str, float | None]:
    return {one.name: one.value for one in outcome.figures}


@pytest.mark.parametrize(
    ("tree", "state", "reason"),
    [
        ({}, State.UNKNOWN, Reason.NO_EQUIPMENT),
        ({THROTTLED: "0"}, State.OK, Reason.NONE),
        ({THROTTLED: "50005"}, State.DEGRADED, Reason.UNDER_VOLTAGE),
        ({THROTTLED: "50000"}, State.DEGRADED, Reason.UNDER_VOLTAGE),  # since boot, not now
        ({THROTTLED: "80008"}, State.OK, Reason.NONE),  # heat, which is machine:self's
        ({THROTTLED: "nonsense"}, State.UNKNOWN, Reason.NO_EQUIPMENT),
        (
            {"sys/class/hwmon/hwmon1/name": "rpi_volt", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1"},
            State.DEGRADED,
            Reason.UNDER_VOLTAGE,
        ),
        ({"sys/class/hwmon/hwmon0/name": "cpu_thermal"}, State.UNKNOWN, Reason.NO_EQUIPMENT),
        (MAINS, State.OK, Reason.NONE),
        (MAINS | {"sys/class/power_supply/ac/online": "0"}, State.DEGRADED, Reason.NO_MAINS),
        (MAINS | BATTERY, State.OK, Reason.NONE),
        (BATTERY | {"sys/class/power_supply/ups/capacity": "12"}, State.DEGRADED, Reason.LOW_BATTERY),
    ],
)
async def test_power_is_what_the_machine_tells_of_it(tmp_path: Path, tree: Tree, state: State, reason: Reason) -> None:
    outcome = await looked(tmp_path, "power", tree)
    assert (outcome.state, outcome.reason) == (state, reason)


@pytest.mark.parametrize(
    ("text", "state", "reason"),
    [
        ("1", State.OK, Reason.NONE),
        ("0", State.DEGRADED, Reason.NO_MAINS),
        (None, State.UNKNOWN, Reason.NO_EQUIPMENT),
    ],
)
async def test_a_mains_line_that_is_named_is_believed_and_a_missing_one_is_unknown(
    tmp_path: Path, text: str | None, state: State, reason: Reason
) -> None:
    tree = {} if text is None else {"sys/class/gpio/gpio17/value": text}
    settings = Machine(mains_file=Path("/sys/class/gpio/gpio17/value"))
    outcome = await looked(tmp_path, "power", tree, settings)
    assert (outcome.state, outcome.reason, outcome.checks) == (state, reason, {"mains": state})


@pytest.mark.parametrize(
    ("tree", "state", "reason", "checks"),
    [
        ({}, State.OK, Reason.NONE, {"boots"}),
        ({"sys/class/thermal/thermal_zone0/temp": "61000"}, State.OK, Reason.NONE, {"boots", "temperature"}),
        ({"sys/class/thermal/thermal_zone0/temp": "82500"}, State.DEGRADED, Reason.HOT, {"boots", "temperature"}),
        ({"proc/meminfo": "MemTotal: 900000 kB\nMemAvailable:  500000 kB"}, State.OK, Reason.NONE, {"boots", "memory"}),
        ({"proc/meminfo": "MemAvailable:  20000 kB"}, State.DEGRADED, Reason.LOW_MEMORY, {"boots", "memory"}),
    ],
)
async def test_the_board_names_only_what_it_has(
    tmp_path: Path, tree: Tree, state: State, reason: Reason, checks: set[str]
) -> None:
    outcome = await looked(tmp_path, "self", tree)
    assert (outcome.state, outcome.reason, set(outcome.checks)) == (state, reason, checks)


def records(*entries: tuple[int, str], size: int = 384) -> bytes:
    """A wtmp of records of one size."""
    found = b""
    for kind, user in entries:
        record = bytearray(size)
        struct.pack_into("<h", record, 0, kind)
        record[44 : 44 + len(user)] = user.encode()
        found += record
    return found


ORDERLY = ((2, "reboot"), (1, "runlevel"), (1, "shutdown"), (2, "reboot"))
CUT = ((2, "reboot"), (1, "runlevel"), (2, "reboot"))


@pytest.mark.parametrize(
    ("tree", "wtmp", "supply_bad", "reason"),
    [
        ({}, None, False, "unknown"),
        ({}, records(*ORDERLY), False, "orderly"),
        ({}, records(*ORDERLY, size=400), False, "orderly"),
        ({}, records(*CUT), False, "unexpected"),
        ({}, records(*CUT), True, "power"),
        ({}, b"x" * 100, False, "unknown"),
        ({"sys/class/watchdog/watchdog0/bootstatus": "32"}, records(*CUT), False, "watchdog"),
        ({"sys/class/watchdog/watchdog0/bootstatus": "0"}, records(*CUT), False, "unexpected"),
        ({"sys/fs/pstore/dmesg-ramoops-0": "Oops"}, records(*CUT), False, "crash"),
    ],
)
def test_a_new_boot_has_the_reason_that_the_machine_tells(
    tmp_path: Path, tree: Tree, wtmp: bytes | None, supply_bad: bool, reason: str
) -> None:
    root, path = planted(tmp_path / "root", tree), tmp_path / "boots.json"
    noted(path, root, "b1", NOW_MS, supply_bad=supply_bad)
    if wtmp is not None:
        (root / "var/log").mkdir(parents=True)
        (root / "var/log/wtmp").write_bytes(wtmp)
    log = noted(path, root, "b2", NOW_MS + 1, supply_bad=False)
    assert [boot.reason for boot in log.boots] == ["first", reason]
    again = noted(path, root, "b2", NOW_MS + 2, supply_bad=False)
    assert (again.count, len(again.boots)) == (2, 2)


def test_a_broken_file_of_boots_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "boots.json"
    path.write_text('{"count": 3, "boo')
    assert noted(path, tmp_path, "b1", NOW_MS, supply_bad=False).count == 1


async def test_coming_back_too_often_unasked_is_told(tmp_path: Path) -> None:
    planted(tmp_path / "root", {"var/log/x": ""})
    (tmp_path / "root/var/log/wtmp").write_bytes(records(*CUT))
    outcomes = [await looked(tmp_path, "self", {}, clock=Standing(f"b{at}", NOW_MS + at)) for at in range(5)]
    assert [one.state for one in outcomes] == [State.OK] * 3 + [State.DEGRADED] * 2
    assert outcomes[-1].reason is Reason.RESTARTED
    assert values(outcomes[-1])["boots"] == 5
    later = await looked(tmp_path, "self", {}, clock=Standing("b4", NOW_MS + 2 * 86_400_000))
    assert later.state is State.OK


def mounts(folder: Path, options: str) -> Tree:
    return {
        "proc/mounts": f"/dev/root / ext4 rw 0 0\n/dev/mmcblk0p3 {folder} ext4 {options} 0 0\nproc /proc proc rw 0 0"
    }


@pytest.mark.parametrize(
    ("tree", "state", "reason", "wear"),
    [
        ({}, State.OK, Reason.NONE, None),
        (CARD, State.OK, Reason.NONE, 20.0),
        (CARD | {"sys/block/mmcblk0/device/life_time": "0x08 0x02"}, State.DEGRADED, Reason.DISK_WORN, 80.0),
        (CARD | {"sys/block/mmcblk0/device/life_time": "0x0b 0x02"}, State.DEGRADED, Reason.DISK_WORN, 100.0),
        (CARD | {"sys/block/mmcblk0/device/pre_eol_info": "0x03"}, State.DEGRADED, Reason.DISK_WORN, 20.0),
        ({"sys/block/mmcblk0/device/life_time": "0x00 0x00"}, State.OK, Reason.NONE, None),
        ({"sys/fs/ext4/mmcblk0p2/errors_count": "0"}, State.OK, Reason.NONE, None),
        ({"sys/fs/ext4/mmcblk0p2/errors_count": "4"}, State.DEGRADED, Reason.DEVICE_ERROR, None),
    ],
)
async def test_a_card_is_as_worn_as_it_says_and_silent_ones_say_nothing(
    tmp_path: Path, tree: Tree, state: State, reason: Reason, wear: float | None
) -> None:
    outcome = await looked(tmp_path, "disk", tree, Machine(least_free_mb=0))
    assert (outcome.state, outcome.reason, values(outcome).get("disk_wear")) == (state, reason, wear)
    assert ("wear" in outcome.checks) == (wear is not None)


@pytest.mark.parametrize(("options", "state"), [("rw,noatime", State.OK), ("ro,noatime", State.FAIL)])
async def test_a_read_only_data_folder_is_a_failure(tmp_path: Path, options: str, state: State) -> None:
    outcome = await looked(tmp_path, "disk", mounts(tmp_path / "data", options), Machine(least_free_mb=0))
    assert (outcome.state, outcome.checks["writable"]) == (state, state)
    assert outcome.reason is (Reason.READ_ONLY if state is State.FAIL else Reason.NONE)


async def test_a_full_disk_is_told_and_what_was_written_counts_real_disks_only(tmp_path: Path) -> None:
    stat = "1 2 3 4 5 6 2000000 8"
    tree = {"sys/block/mmcblk0/stat": stat, "sys/block/zram0/stat": stat, "sys/block/loop0/stat": stat}
    full = os.statvfs_result((4096, 4096, 1000, 100, 50, 10, 5, 5, 0, 255))
    disk = Disk(settings=Machine(), data=tmp_path, root=planted(tmp_path / "root", tree), space=lambda _: full)
    outcome = await disk.run()
    assert (outcome.state, outcome.reason) == (State.DEGRADED, Reason.DISK_FULL)
    assert (values(outcome)["disk_used"], values(outcome)["disk_written"]) == (95.0, 1024.0)


def kept(synchronised: bool) -> Discipline:
    return Discipline(synchronised=synchronised, most_error_ms=12.0, error_ms=3.0, offset_ms=0.5)


RTC = "sys/class/rtc/rtc0/"


@pytest.mark.parametrize(
    ("discipline", "tree", "state", "reason", "checks"),
    [
        (None, {}, State.UNKNOWN, Reason.NO_EQUIPMENT, set()),
        (kept(True), {}, State.OK, Reason.NONE, {"time"}),
        (kept(False), {}, State.DEGRADED, Reason.UNSYNCHRONISED, {"time"}),
        (kept(True), {RTC + "since_epoch": "1768435199"}, State.OK, Reason.NONE, {"time", "rtc"}),
        (kept(True), {RTC + "date": "2026-01-15", RTC + "time": "00:00:01"}, State.OK, Reason.NONE, {"time", "rtc"}),
        (kept(True), {RTC + "since_epoch": "1768430000"}, State.DEGRADED, Reason.CLOCK_SKEW, {"time", "rtc"}),
        (kept(True), {RTC + "name": "rtc-ds1307"}, State.DEGRADED, Reason.DEVICE_ERROR, {"time", "rtc"}),
    ],
)
async def test_the_clock_is_judged_by_who_keeps_it_and_by_its_battery_clock(
    tmp_path: Path, discipline: Discipline | None, tree: Tree, state: State, reason: Reason, checks: set[str]
) -> None:
    probe = ClockWatch(
        settings=Machine(), clock=Standing(), root=planted(tmp_path / "root", tree), discipline=lambda: discipline
    )
    outcome = await probe.run()
    assert (outcome.state, outcome.reason, set(outcome.checks)) == (state, reason, checks)


async def test_this_very_machine_can_be_looked_at(tmp_path: Path) -> None:
    setup = Setup(credentials=Credentials(None), clock=SystemClock(), data=tmp_path)
    for probe in build(Machine(), setup):
        outcome = await Schedule(probes=[probe], clock=SystemClock(), keep=discard).once(probe)
        assert outcome.reason is not Reason.PROBE_ERROR


def test_it_can_be_turned_off_and_a_rhythm_of_nothing_is_refused(tmp_path: Path) -> None:
    setup = Setup(credentials=Credentials(None), clock=SystemClock(), data=tmp_path)
    assert build(Machine(enabled=False), setup) == []
    with pytest.raises(ConfigError, match=r"machine\.every_s"):
        build(Machine(every_s=0), setup)
