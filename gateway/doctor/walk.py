"""Walks everything that is configured, and says of each thing how it is: gateway, lines, sensors, probes.

Beside a running gateway nothing is taken from it: it is asked what it found out last. Where none runs, the doctor looks
itself. `fresh` looks anew beside a running one, but for what only one program can hold: serial ports and modems.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from codec.profiles import ProfileLibrary
from gateway.assembly import configured_devices, key_path, spool_path
from gateway.clock import Clock
from gateway.config import Config
from gateway.doctor.finding import Finding, of_reason
from gateway.doctor.words import REASONS
from gateway.language import Text
from gateway.probes.build import build
from gateway.probes.outcome import Reason, State
from gateway.probes.probe import Probe
from gateway.probes.schedule import Schedule
from gateway.spool.sqlite import Damaged, SpoolError
from gateway.spool.store import SpoolFile
from gateway.spool.views import Heard
from gateway.status import ProbeWord, Running, StatusFile
from wire.keys import KeyProblem, SigningKey
from wire.mqtt import Broker, Link, Terms
from wire.reading import ClockState, Reading

_ALIVE_MS: Final = 30_000
_CONNECT_S: Final = 15.0
_LOW_BYTES: Final = 500_000_000
_LATE: Final = 2.5  # intervals without a word
_EXCLUSIVE: Final = ("serial:", "mobile:", "gnss:")  # one program at a time
_NOTHING: Final = Text("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One walk. `only`: things whose name begins so; "" for all."""

    config: Config
    clock: Clock
    only: str = ""
    fresh: bool = False

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is found, in the order in which an installer mends it; raises ConfigError."""
        probes = build(self.config, self.clock)
        running = self._running()
        for finding in (self._itself(running), self._key(), self._card(), self._time(), *self._sensors()):
            if self._is_wanted(finding.thing):
                yield finding
        for name, broker in (("hub", self.config.hub.broker()), ("chirpstack", self.config.chirpstack.broker())):
            if self._is_wanted(name) and (name == "hub" or self.config.chirpstack.enabled):
                yield await self._broker(name, broker, running)
        wanted = [probe for probe in probes if self._is_wanted(str(probe.source))]
        async for finding in self._probed(wanted, running):
            yield finding

    def _is_wanted(self, thing: str) -> bool:
        return thing.startswith(self.only)

    def _running(self) -> Running | None:
        """Return the word of a gateway that runs now."""
        word = StatusFile(self.config.gateway.data / "status.json").read()
        return word if word is not None and time.time() * 1000 - word.at_ms < _ALIVE_MS else None

    # ---- the gateway itself

    def _itself(self, running: Running | None) -> Finding:
        if running is not None:
            what = Text(f"đang chạy, phiên bản {running.version}", f"is running, version {running.version}")
            return _good("gateway", what)
        return Finding(
            thing="gateway",
            state=State.FAIL,
            word="not_running",
            what=Text("chương trình của trạm không chạy", "the gateway's program is not running"),
            remedy=Text("sudo systemctl start xom-gateway", "sudo systemctl start xom-gateway"),
        )

    def _key(self) -> Finding:
        try:
            SigningKey.read(key_path(self.config))
        except (KeyProblem, OSError) as error:
            return Finding(
                thing="key",
                state=State.FAIL,
                word="no_key",
                what=Text("chưa có khoá ký của trạm", "the gateway has no signing key"),
                remedy=Text(
                    "chạy `xom gateway key` rồi gửi kết quả cho người vận hành",
                    "run `xom gateway key` and give what it prints to the operator",
                ),
                detail=str(error),
            )
        return _good("key", Text("có khoá ký", "the signing key is there"))

    def _card(self) -> Finding:
        path = spool_path(self.config)
        try:
            file = SpoolFile(path, self.config.gateway.id, SigningKey.read(key_path(self.config)))
            file.open_to_read()
            depth = file.depth()
        except (SpoolError, KeyProblem, Damaged, OSError, apsw.Error) as error:
            return Finding(
                thing="spool",
                state=State.UNKNOWN,
                word="no_spool",
                what=Text("chưa đọc được bộ nhớ đệm", "the spool cannot be read yet"),
                remedy=Text("khởi động trạm một lần", "start the gateway once"),
                detail=str(error),
            )
        free = shutil.disk_usage(path.parent).free
        if free < _LOW_BYTES:
            return Finding(
                thing="spool",
                state=State.DEGRADED,
                word="disk_full",
                what=Text(f"thẻ nhớ còn {free / 1e6:.0f} MB", f"{free / 1e6:.0f} MB are left on the card"),
                remedy=REASONS[Reason.DISK_FULL].remedy,
            )
        return _good(
            "spool",
            Text(f"{depth.unconfirmed} lô chưa được máy chủ nhận", f"{depth.unconfirmed} batches wait for the hub"),
        )

    def _time(self) -> Finding:
        state = self.clock.now().state
        if state is ClockState.NONE:
            return Finding(
                thing="clock",
                state=State.DEGRADED,
                word="clock_not_set",
                what=Text("đồng hồ của trạm chưa được chỉnh", "the gateway's clock is not set"),
                remedy=Text(
                    "nối mạng để chrony chỉnh giờ, hoặc gắn đồng hồ RTC",
                    "connect it so that chrony can set it, or fit an RTC",
                ),
            )
        return _good("clock", Text(f"đồng hồ đúng ({state})", f"the clock is set ({state})"))

    # ---- its lines

    async def _broker(self, name: str, broker: Broker, running: Running | None) -> Finding:
        if running is not None and not self.fresh:
            problem = running.hub_problem if name == "hub" else running.chirpstack_problem
        else:
            problem = await _connection_problem(broker, f"xom-doctor-{self.config.gateway.id}")
        if not problem:
            return _good(name, Text(f"kết nối được {broker}", f"connected to {broker}"))
        return Finding(
            thing=name,
            state=State.FAIL,
            word="not_connected",
            what=Text(f"không kết nối được {broker}", f"no connection to {broker}"),
            remedy=Text(
                f"kiểm tra mục [{name}] trong cấu hình, mật khẩu và đường mạng",
                f"check [{name}] in the configuration, its password and the line",
            ),
            detail=problem,
        )

    # ---- its sensors

    def _sensors(self) -> list[Finding]:
        if not self.config.device:
            return []
        library = ProfileLibrary(self.config.codecs.library)
        intervals, profiles = configured_devices(self.config, library)
        heard = {one.source: one for one in self._heard()}
        names = {str(device.dev_eui.source): device.name for device in self.config.device}
        return [
            _sensor(str(source), names.get(str(source), ""), heard.get(str(source)), intervals[source])
            for source in profiles
        ]

    def _heard(self) -> Sequence[Heard]:
        try:
            file = SpoolFile(spool_path(self.config), self.config.gateway.id, SigningKey.read(key_path(self.config)))
            file.open_to_read()
            return file.heard()
        except (SpoolError, KeyProblem, Damaged, OSError, apsw.Error):
            return []

    # ---- its probes

    async def _probed(self, probes: Sequence[Probe], running: Running | None) -> AsyncIterator[Finding]:
        told = {one.source: one for one in running.probes} if running is not None else {}
        asked = [probe for probe in probes if running is None or (self.fresh and not _is_exclusive(probe))]
        for probe in probes:
            if probe not in asked:
                yield _told(str(probe.source), told.get(str(probe.source)))
        schedule = Schedule(
            probes=asked, clock=self.clock, keep=_keep_nothing, concurrency=self.config.probes.concurrency
        )

        async def ask(probe: Probe) -> Finding:
            outcome = await schedule.once(probe, within_s=600.0)
            detail = str(outcome.facts.get("explanation", ""))
            return of_reason(str(probe.source), outcome.state, outcome.reason, detail)

        for done in asyncio.as_completed([ask(probe) for probe in asked]):
            yield await done


async def _keep_nothing(_: list[Reading]) -> None:
    """A walk leaves no readings behind."""


def _is_exclusive(probe: Probe) -> bool:
    return str(probe.source).startswith(_EXCLUSIVE)


def _told(source: str, word: ProbeWord | None) -> Finding:
    if word is None:
        return Finding(
            thing=source,
            state=State.UNKNOWN,
            word="not_yet",
            what=Text("trạm chưa đo lần nào từ khi khởi động", "the gateway has not measured it since it started"),
            remedy=Text("đợi hết một chu kỳ rồi xem lại", "wait for one interval and look again"),
        )
    return of_reason(source, word.state, word.reason, word.explanation, word.at_ms)


def _sensor(source: str, name: str, heard: Heard | None, interval_s: float) -> Finding:
    label = f" ({name})" if name else ""
    if heard is None:
        return Finding(
            thing=source,
            state=State.FAIL,
            word="never_heard",
            what=Text(f"chưa nghe thấy cảm biến{label}", f"the sensor{label} has never been heard"),
            remedy=Text(
                "kiểm tra pin, DevEUI và đã khai báo trên ChirpStack",
                "check its battery, its DevEUI, and that ChirpStack knows it",
            ),
        )
    silent_s = time.time() - heard.last_at_ms / 1000
    if interval_s > 0 and silent_s > _LATE * interval_s:
        return Finding(
            thing=source,
            state=State.FAIL,
            word="silent",
            what=Text(f"im lặng {silent_s / 3600:.1f} giờ{label}", f"silent for {silent_s / 3600:.1f} hours{label}"),
            remedy=Text("kiểm tra pin, anten và vị trí cảm biến", "check the sensor's battery, antenna and place"),
            at_ms=heard.last_at_ms,
        )
    if heard.last_reason:
        return Finding(
            thing=source,
            state=State.DEGRADED,
            word=heard.last_reason,
            what=Text(f"nghe được nhưng không giải mã được{label}", f"heard, and not decoded{label}"),
            remedy=Text(
                "kiểm tra profile của thiết bị: `xom profile list`", "check the device's profile: `xom profile list`"
            ),
            at_ms=heard.last_at_ms,
        )
    return _good(source, Text(f"nghe tốt{label}", f"heard well{label}"), heard.last_at_ms)


def _good(thing: str, what: Text, at_ms: int | None = None) -> Finding:
    return Finding(thing=thing, state=State.OK, word="", what=what, remedy=_NOTHING, at_ms=at_ms)


async def _connection_problem(broker: Broker, client_id: str) -> str:
    """Connect once; returns why it did not come about, "" when it did."""
    async with Link(broker, Terms(client_id=client_id, session_expiry_s=0, connect_timeout_s=_CONNECT_S)) as link:
        try:
            async with asyncio.timeout(_CONNECT_S):
                await link.wait_connected()
        except TimeoutError:
            return link.problem or f"no answer within {_CONNECT_S:.0f} s"
    return ""
