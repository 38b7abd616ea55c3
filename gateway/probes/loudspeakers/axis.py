"""Axis VAPIX over HTTP with its digest login: who it is, its outputs, and the Auto Speaker Test.

developer.axis.com: "Basic device information", "Audio Device Control", "Auto speaker test service API". Calibrating is
left to the installer, who must stand there and listen. Tried only against a stand-in written from those pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.clock import Instant
from gateway.probes.credentials import Credential, Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.local_time import VIET_NAM
from gateway.probes.loudspeakers.answer import at, heard, moment_ms
from gateway.probes.loudspeakers.broadcasts import is_on
from gateway.probes.loudspeakers.fetch import Json, fetch
from gateway.probes.loudspeakers.finding import FINE, Check, Finding
from gateway.probes.loudspeakers.memory import Memory
from gateway.probes.loudspeakers.settings import Axis, Broadcast
from gateway.probes.outcome import Fact, Reason, State
from wire.reading import ClockState, Quantity

_ABOUT: Final = "/axis-cgi/basicdeviceinfo.cgi"
_AUDIO: Final = "/axis-cgi/audiodevicecontrol.cgi"
_TEST: Final = "/vapix/axast"
_FAULTS: Final = frozenset({400, 500})
_UNTESTED: Final = {
    "Calibrated": Check(State.UNKNOWN, Reason.STALE, "the speaker test has never been run"),
    "Pending": Check(State.UNKNOWN, Reason.BUSY, "the speaker test is running"),
    "Uncalibrated": Check(State.UNKNOWN, Reason.MISCONFIGURED, "the speaker test must be calibrated on the spot"),
    "DisabledInHardware": Check(State.UNKNOWN, Reason.MISCONFIGURED, "its microphone is switched off"),
    "InternalError": Check(State.UNKNOWN, Reason.DEVICE_ERROR, "the speaker test could not be run"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisAdapter:
    """One Axis speaker. `broadcasts` are known so that no test tone falls into one."""

    settings: Axis
    credentials: Credentials
    sound_within_s: float
    broadcasts: tuple[Broadcast, ...] = ()
    name: str = "axis"
    is_asked_directly: bool = True
    keeps_log: bool = False
    signs: frozenset[str] = frozenset()

    @property
    def gives(self) -> frozenset[str]:
        """Sound only where its own test is allowed."""
        return frozenset({"reach", "sound"} if self.settings.test else {"reach"})

    async def ask(self, now: Instant, memory: Memory) -> Finding:
        """Ask who it is and what it plays on, then look at the test's report, and have it run when it is time."""
        login = self.credentials.of(self.settings.credentials)
        about = await self._ask(_ABOUT, {"apiVersion": "1.0", "method": "getAllProperties"}, login)
        serial = at(about, "data.propertyList.SerialNumber")
        facts: dict[str, Fact] = {"model": _text(at(about, "data.propertyList.ProdNbr"))}
        facts["firmware"] = _text(at(about, "data.propertyList.Version"))
        checks: dict[str, Check] = {"reach": FINE}
        if self.settings.serial and str(serial).upper() != self.settings.serial.upper():
            raise ProbeError(Reason.WRONG_DEVICE, f"its serial number is {_text(serial)}", rung="answers")
        try:
            audio = await self._ask(_AUDIO, {"apiVersion": "1.0", "method": "getDevicesSettings"}, login)
            if _is_mute(audio):
                checks["reach"] = Check(State.DEGRADED, Reason.DEVICE_ERROR, "all its outputs are muted")
        except ProbeError as error:
            if error.reason is not Reason.NOT_FOUND:  # older products do not have it
                raise
        figures: tuple[Quantity, ...] = ()
        if self.settings.test:
            checks["sound"], figures = await self._sound(now, memory, login)
        return Finding(checks=checks, figures=figures, facts=facts)

    async def _ask(self, path: str, question: Mapping[str, object], login: Credential) -> Json:
        url = self.settings.url.rstrip("/") + path
        page = await fetch(url, login, post=question, verify_tls=self.settings.verify_tls, seen=_FAULTS)
        said = page.json()
        fault = at(said, "error.message") or at(said, "FaultSubCode") or at(said, "FaultCode")
        if page.status in _FAULTS or fault is not None:
            raise ProbeError(Reason.DEVICE_ERROR, f"{path}: {_text(fault)}", rung="answers")
        return said

    async def _sound(self, now: Instant, memory: Memory, login: Credential) -> tuple[Check, tuple[Quantity, ...]]:
        said = await self._ask(_TEST, {"axast:GetSpeakerTestReport": {}}, login)
        status = at(said, "SpeakerTestReport.SpeakerTestStatus")
        tested_ms = moment_ms(at(said, "SpeakerTestReport.TestTimestamp"))
        if status in ("OK", "Failed") and tested_ms is not None:
            memory.sound, memory.sound_ms = str(status), tested_ms
        if self._is_time(now, memory) and status in ("OK", "Failed", "Calibrated", "InternalError"):
            memory.tested_ms = now.wall_ms  # before it is asked: an answer that gets lost must not sound it again
            await self._ask(_TEST, {"axast:PerformSpeakerTest": {}}, login)
        if memory.sound and status in ("OK", "Failed", "Pending"):  # while one runs, the last one stands
            check = heard(
                passed=memory.sound == "OK", tested_ms=memory.sound_ms, now_ms=now.wall_ms, within_s=self.sound_within_s
            )
            age_s = max(0.0, (now.wall_ms - memory.sound_ms) / 1000)
            return check, (Quantity("sound_test_age", "s", age_s),)
        unknown = Check(State.UNKNOWN, Reason.NOT_THE_PROTOCOL, f"a speaker test status {_text(status)}")
        return _UNTESTED.get(str(status), unknown), ()

    def _is_time(self, now: Instant, memory: Memory) -> bool:
        """Whether a tone may sound now: by day, agreed with the station, never at an hour that nobody knows."""
        if now.state is ClockState.NONE or is_on(self.broadcasts, now.wall_ms):
            return False
        here = datetime.fromtimestamp(now.wall_ms / 1000, UTC).astimezone(VIET_NAM)
        last = datetime.fromtimestamp(memory.tested_ms / 1000, UTC).astimezone(VIET_NAM)
        is_due = abs((here.date() - last.date()).days) >= self.settings.test_every_days
        return is_due and self.settings.test_from <= here.hour < self.settings.test_until


def _is_mute(audio: Json) -> bool:
    """Whether every channel of every output that is told of says that it is muted."""
    devices = at(audio, "data.devices")
    mutes: list[bool] = []
    for device in devices if isinstance(devices, list) else []:
        outputs = at(device, "outputs")
        for output in outputs if isinstance(outputs, list) else []:
            mutes += _mutes(output)
    return bool(mutes) and all(mutes)


def _mutes(here: Json) -> list[bool]:
    """Return each `mute` below: where exactly it stands differs with the product (not confirmed on one)."""
    if isinstance(here, dict):
        own = [here["mute"]] if isinstance(here.get("mute"), bool) else []
        return [bool(one) for one in own] + [mute for value in here.values() for mute in _mutes(value)]
    return [mute for value in here for mute in _mutes(value)] if isinstance(here, list) else []


def _text(value: Json) -> str:
    return str(value)[:80]
