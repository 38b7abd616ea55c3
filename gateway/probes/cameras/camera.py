"""One camera's probe: from an open port to a plausible picture, rung by rung."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from gateway.clock import Clock
from gateway.probes.cameras import onvif
from gateway.probes.cameras.decoder import Decoder
from gateway.probes.cameras.picture import Limits, Past, judge
from gateway.probes.cameras.reference import ReferenceFile
from gateway.probes.cameras.rtp import KeyFrames
from gateway.probes.cameras.rtsp import connected, stream_path
from gateway.probes.cameras.sdp import Codec
from gateway.probes.cameras.settings import Camera
from gateway.probes.credentials import Credentials
from gateway.probes.errors import ProbeError, sorted_os_error
from gateway.probes.local_time import VIET_NAM
from gateway.probes.outcome import OURS, Fact, Outcome, Reason, State
from wire.identity import SourceId
from wire.reading import ClockState, Quantity

RUNGS: Final = ("reachable", "service", "stream", "picture", "plausible")
_FRAMES_WANTED: Final = 10  # OD-5: a key frame, and ten frames within 15 s


@dataclass(slots=True)
class _Memory:
    """What a camera's probe keeps between runs."""

    past: Past = field(default_factory=Past)


class Night(NamedTuple):
    """Local minutes of the day in which black is no fault; from and to alike: never."""

    start: int = 0
    end: int = 0

    def covers(self, wall_ms: int) -> bool:
        """Whether a moment lies in it; it may go over midnight."""
        local = datetime.fromtimestamp(wall_ms / 1000, VIET_NAM)
        minute = local.hour * 60 + local.minute
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(slots=True)
class _Run:
    """What one run has found so far."""

    rung: str = ""
    state: State = State.OK
    reason: Reason = Reason.NONE
    latency_ms: float | None = None
    checks: dict[str, State] = field(default_factory=dict)
    figures: list[Quantity] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)

    def reached(self, rung: str) -> None:
        if not self.rung or RUNGS.index(rung) > RUNGS.index(self.rung):
            self.rung = rung

    def fault(self, state: State, reason: Reason, why: str = "") -> None:
        """Note what is wrong; a failure outweighs what was only degraded, and else the first one stays."""
        if self.state is State.OK or (state is State.FAIL and self.state is not State.FAIL):
            self.state, self.reason = state, reason
            if why:
                self.facts["explanation"] = why[:300]

    def figure(self, name: str, unit: str, value: float) -> None:
        self.figures.append(Quantity(name, unit, value))

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            state=self.state,
            rung=self.rung,
            reason=self.reason,
            latency_ms=self.latency_ms,
            checks=dict(self.checks),
            figures=tuple(self.figures),
            facts=dict(self.facts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraProbe:
    """A camera, or one channel of a recorder: the channels of one host are asked one after the other."""

    source: SourceId
    settings: Camera
    credentials: Credentials
    clock: Clock
    reference: ReferenceFile
    decoder: Decoder
    limits: Limits
    night: Night
    memory: _Memory = field(default_factory=_Memory)
    rungs: tuple[str, ...] = RUNGS

    @property
    def device(self) -> str:
        """The host."""
        return self.settings.host

    @property
    def every_s(self) -> float:
        """Its rhythm."""
        return self.settings.every_s

    @property
    def deadline_s(self) -> float:
        """Longest run."""
        return self.settings.deadline_s

    async def run(self) -> Outcome:
        """Climb the ladder; what was found on the way is in the outcome, wherever it ends."""
        run = _Run()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.settings.deadline_s - 1.0):  # before the schedule's: it would know less
                await self._climb(run, began)
        except ProbeError as error:
            self._end(run, error.reason, str(error))
        except OSError as error:
            self._end(run, sorted_os_error(error), str(error) or "no answer in time")
        return run.outcome

    def _end(self, run: _Run, reason: Reason, why: str) -> None:
        ours = reason in OURS
        run.state, run.reason = State.UNKNOWN if ours else State.FAIL, reason
        run.facts["explanation"] = why[:300]
        run.checks.setdefault("reach", run.state)
        if "reach" in run.checks and run.checks["reach"] is State.OK:
            run.checks.setdefault("stream", run.state)
            if run.checks["stream"] is State.OK:
                run.checks.setdefault("picture", run.state)

    async def _climb(self, run: _Run, began: float) -> None:
        settings = self.settings
        credential = self.credentials.of(settings.credentials)
        port, path = settings.port, settings.stream
        if settings.onvif_port:
            named = await self._onvif(run)
            if not path:
                named_port, path = stream_path(named)
                port = named_port or port
        path = path.replace("{username}", credential.username).replace("{password}", credential.password)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        asked = time.monotonic()
        async with connected(settings.host, port, f"rtsp://{host}:{port}{path}", credential) as rtsp:
            run.reached("reachable")
            await rtsp.options()
            run.latency_ms = (time.monotonic() - asked) * 1000
            run.reached("service")
            run.checks["reach"] = State.OK
            video, base = await rtsp.describe()
            run.reached("stream")
            run.facts["encoding"] = video.encoding
            if not settings.picture:
                run.checks["stream"] = State.OK
                return
            if video.codec is None:
                raise ProbeError(Reason.MISCONFIGURED, f"{video.encoding or 'its stream'} is not decoded: choose H.264")
            frames = KeyFrames(video.codec, video.payload_type, video.parameters)
            try:
                async with asyncio.timeout(settings.stream_s):
                    await rtsp.key_frame(video, base, frames, _FRAMES_WANTED)
            except TimeoutError:
                self._too_few(run, frames)
        run.figure("video_frames", "1", float(frames.frames))
        run.checks.setdefault("stream", State.OK)
        await self._picture(run, video.codec, frames.key_frame or b"", began)

    def _too_few(self, run: _Run, frames: KeyFrames) -> None:
        if frames.key_frame is None:
            run.checks["stream"] = State.FAIL
            raise ProbeError(
                Reason.NO_PICTURE,
                f"no key frame within {self.settings.stream_s:.0f} s, of {frames.frames} frames",
            ) from None
        run.checks["stream"] = State.DEGRADED
        run.fault(State.DEGRADED, Reason.SLOW, f"{frames.frames} frames within {self.settings.stream_s:.0f} s")

    async def _onvif(self, run: _Run) -> str:
        """Ask the camera about itself; return its stream's address, "" where the configuration has it."""
        settings = self.settings
        credential = self.credentials.of(settings.credentials)
        try:
            async with asyncio.timeout(settings.deadline_s / 4), onvif.client() as client:
                device = onvif.Onvif(
                    host=settings.host,
                    port=settings.onvif_port,
                    path=settings.onvif_path,
                    credential=credential,
                    client=client,
                )
                try:
                    self._skew(run, await device.clock(), device.offset)
                    run.reached("service")
                    run.checks["reach"] = State.OK
                    self._identify(run, await device.identity())
                    named = await device.stream_uri() if not settings.stream else ""
                except ProbeError as error:
                    # Whatever it answered, something answered: unless nothing did.
                    if error.reason is not Reason.UNREACHABLE:
                        run.reached("reachable")
                    raise
        except (ProbeError, OSError) as error:
            if isinstance(error, ProbeError) and error.reason is Reason.WRONG_DEVICE:
                raise
            reason = error.reason if isinstance(error, ProbeError) else sorted_os_error(error)
            if not settings.stream:
                raise
            # Its picture can still be asked for: the stream's address is known.
            run.checks["onvif"] = State.UNKNOWN if reason in OURS else State.FAIL
            run.facts["onvif"] = f"{reason.value}: {error}"[:300]
            return ""
        run.checks["onvif"] = State.OK
        return named

    def _skew(self, run: _Run, told: datetime | None, offset: timedelta) -> None:
        if told is None or self.clock.now().state is ClockState.NONE:
            run.checks["clock"] = State.UNKNOWN  # it names no time, or ours is not to be believed
            return
        skew_s = offset.total_seconds()
        run.figure("clock_offset", "s", round(skew_s, 1))
        wrong = abs(skew_s) > self.settings.clock_limit_s
        run.checks["clock"] = State.DEGRADED if wrong else State.OK
        if wrong:
            run.fault(State.DEGRADED, Reason.CLOCK_SKEW, f"its clock is {skew_s:+.0f} s off")

    def _identify(self, run: _Run, found: onvif.Identity) -> None:
        run.facts["manufacturer"], run.facts["model"] = found.manufacturer, found.model
        run.facts["firmware"], run.facts["serial"] = found.firmware, found.serial
        if self.settings.serial and found.serial != self.settings.serial:
            raise ProbeError(Reason.WRONG_DEVICE, f"serial number {found.serial!r}, not {self.settings.serial!r}")

    async def _picture(self, run: _Run, codec: Codec, frame: bytes, began: float) -> None:
        left_s = self.settings.deadline_s - 2.0 - (time.monotonic() - began) - self.decoder.limit_s
        picture = await self.decoder.decode(codec, frame, sorted(self.limits.masked), max(left_s, 0.1))
        run.reached("picture")
        now = self.clock.now()
        reference = self.reference.of(picture)
        night = self.night.covers(now.wall_ms)
        verdict = judge(picture, self.memory.past, reference, self.limits, now.monotonic_ms, night=night)
        self.memory.past = verdict.past
        if reference is None and verdict.is_reference:
            self.reference.accept(picture, now.wall_ms)
            run.facts["reference"] = "taken"
        run.figure("picture_width", "1", float(picture.width))
        run.figure("picture_height", "1", float(picture.height))
        run.figure("luminance_mean", "1", picture.mean)
        run.figure("luminance_variance", "1", picture.variance)
        run.figure("sharpness", "1", picture.sharpness)
        run.figure("picture_colour", "1", picture.colour)
        if verdict.change is not None:
            run.figure("picture_change", "1", round(verdict.change, 3))
        if verdict.likeness is not None:
            run.figure("view_likeness", "1", round(verdict.likeness, 3))
        run.facts["hash"] = picture.hash
        if verdict.changed_area is not None:
            run.facts["changed_area"] = list(verdict.changed_area)
        run.checks["picture"] = verdict.state
        if verdict.reason is not Reason.NONE:
            run.fault(verdict.state, verdict.reason, verdict.note)
        elif verdict.state is State.OK:
            run.reached("plausible")
        else:
            run.facts["note"] = verdict.note
