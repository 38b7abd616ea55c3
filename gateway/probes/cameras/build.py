"""From settings to probes. What cannot be probed is named here, at the start, not in the middle of the night."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.probes.cameras.settings import Camera
from gateway.probes.errors import ProbeError
from gateway.probes.probe import Probe
from gateway.probes.setup import Setup
from wire.configuration import ConfigError
from wire.identity import SourceId

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_NIGHT = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def build(settings: Sequence[Camera], setup: Setup) -> list[Probe]:
    """Return the probes; raises ConfigError."""
    if not settings:
        return []
    # Only who has cameras pays for httpx. PyAV is loaded by the worker alone.
    from gateway.probes.cameras.camera import CameraProbe, Night
    from gateway.probes.cameras.decoder import Decoder
    from gateway.probes.cameras.picture import Limits, mask_blocks
    from gateway.probes.cameras.reference import ReferenceFile

    decoder = Decoder()
    probes: list[Probe] = []
    for one in settings:
        _check(one, setup)
        try:
            masked = mask_blocks(one.masks)
        except ValueError as error:
            raise ConfigError(f"camera {one.name}: {error}") from error
        hours = _NIGHT.fullmatch(one.night)
        first, last = (
            (0, 0) if hours is None else (60 * int(hours[1]) + int(hours[2]), 60 * int(hours[3]) + int(hours[4]))
        )
        limits = Limits(
            black_below=one.black_below,
            dark_below=one.dark_below,
            still_below=one.still_below,
            frozen_after_s=one.frozen_after_s,
            frozen_dark_s=one.frozen_dark_s,
            blurred_below=one.blurred_below,
            moved_below=one.moved_below,
            masked=masked,
        )
        probes.append(
            CameraProbe(
                source=SourceId(f"camera:{one.name}"),
                settings=one,
                credentials=setup.credentials,
                clock=setup.clock,
                reference=ReferenceFile(setup.data / "cameras" / f"{one.name}.json"),
                decoder=decoder,
                limits=limits,
                night=Night(first, last),
            )
        )
    return probes


def _check(one: Camera, setup: Setup) -> None:
    if not _NAME.fullmatch(one.name):
        raise ConfigError(f"camera {one.name!r}: a name is 1 to 40 of a-z, 0-9 and '-'")
    if one.stream and not (one.stream.startswith("/") and one.stream.isascii() and " " not in one.stream):
        raise ConfigError(f"camera {one.name}: stream is a path that begins with '/', without host and login")
    if not one.stream and not one.onvif_port:
        raise ConfigError(f"camera {one.name}: give it a stream, or an onvif_port to ask for one")
    if one.night and not _NIGHT.fullmatch(one.night):
        raise ConfigError(f'camera {one.name}: night is written as "18:00-05:30", not {one.night!r}')
    if one.deadline_s < one.stream_s + 15 or one.deadline_s > one.every_s:
        raise ConfigError(f"camera {one.name}: deadline_s must be at least stream_s + 15, and at most every_s")
    try:
        setup.credentials.of(one.credentials)
    except ProbeError as error:
        raise ConfigError(f"camera {one.name}: {error}") from error
