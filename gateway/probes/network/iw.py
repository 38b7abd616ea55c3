"""A guest whose joining the installer has set up (wpa_supplicant and a DHCP client): `iw` shows how it goes."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.limits import read_capped
from gateway.probes.network.layer import OK, Layer
from gateway.probes.network.rtnetlink import find_outlet
from gateway.probes.network.scan import read_link, read_scan, read_station, strongest
from gateway.probes.network.settings import Wifi
from gateway.probes.network.wifi import Visit
from gateway.probes.outcome import Fact, Reason

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_SCAN_S: Final = 20.0
_NO_SUCH_DEVICE, _NOT_PERMITTED, _BUSY = "(-19)", "(-1)", "(-16)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Iw:
    """`program` is found on the path."""

    settings: Wifi
    program: str = "iw"

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Visit]:
        """Look at what the radio hears and whether it is in; nothing is changed, so nothing is left at the end."""
        radio = self.settings.radio
        if find_outlet(radio) is None:
            raise ProbeError(Reason.NO_EQUIPMENT, f"there is no radio {radio}: `iw dev` lists them")
        cell = strongest(read_scan(await say(self.program, "dev", radio, "scan")), self.settings.ssid)
        joined = read_link(await say(self.program, "dev", radio, "link"))
        facts: dict[str, Fact] = {}
        if joined is None:
            associated = Layer.failed(Reason.NO_ASSOCIATION, f"{radio} is in no network")
        elif joined.ssid != self.settings.ssid:
            associated = Layer.failed(Reason.MISCONFIGURED, f"{radio} is in another network than {self.settings.ssid}")
        else:
            associated = OK
            counted = read_station(await say(self.program, "dev", radio, "station", "dump"))
            if counted is not None:
                facts = {"sent_packets": counted[0], "failed_packets": counted[1]}
            if cell is not None and joined.signal_dbm is not None and joined.bssid == cell.bssid:
                cell = replace(cell, signal_dbm=joined.signal_dbm)
        yield Visit(cell=cell, associated=associated, facts=facts)


async def say(program: str, *words: str) -> str:
    """Return what iw prints; raises ProbeError. `program` is found on the path."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise ProbeError(Reason.NO_EQUIPMENT, "iw is not installed")
    child = await asyncio.create_subprocess_exec(
        found, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert child.stdout is not None  # noqa: S101  # asked for above
    try:
        async with asyncio.timeout(_SCAN_S):
            text = (await read_capped(child.stdout)).decode("utf-8", "replace")
            code = await child.wait()
    except TimeoutError as error:
        raise ProbeError(Reason.PROBE_ERROR, f"iw {words[-1]} takes longer than {_SCAN_S:g} s") from error
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if code == 0:
        return text
    if _NOT_PERMITTED in text:
        raise ProbeError(Reason.NO_PERMISSION, f"iw {words[-1]} needs CAP_NET_ADMIN")
    reason = Reason.NO_EQUIPMENT if _NO_SUCH_DEVICE in text else Reason.PROBE_ERROR
    raise ProbeError(reason, f"iw {words[-1]}: {text.strip():.120}")
