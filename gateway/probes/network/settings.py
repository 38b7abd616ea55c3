"""What an installer says of the lines: [internet], [[modem]], [[wifi]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

from typing import Literal

import msgspec


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[internet.page]]: a page over plain http whose answer is known: the whole body, or "" for 204 without one."""

    url: str
    body: str = ""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[internet.line]]: one way out. `interface` "" is wherever the default route leads; 0 MB is no limit."""

    name: str
    interface: str = ""
    data_mb_per_month: float = 0.0


def _pages() -> list[Page]:
    return [
        Page(url="http://connectivitycheck.gstatic.com/generate_204"),
        Page(url="http://network-test.debian.org/nm", body="NetworkManager is online\n"),
    ]


class Internet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[internet]: the line out of the hamlet, and what modems and wifi are asked to reach, too."""

    enabled: bool = False
    every_s: float = 60.0
    deadline_s: float = 40.0
    resolvers: tuple[str, ...] = ("1.1.1.1", "8.8.8.8")
    hostname: str = "vnnic.vn"
    absent_below: str = "com"
    targets: tuple[str, ...] = ("tls://vnnic.vn:443", "tls://one.one.one.one:443")
    connects: int = 3
    lossy_percent: float = 20.0
    slow_ms: float = 300.0
    page: list[Page] = msgspec.field(default_factory=_pages)
    line: list[Line] = []


class Modem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[modem]]: one modem with a SIM of a public operator."""

    name: str
    every_s: float = 900.0
    deadline_s: float = 120.0
    via: Literal["at", "modemmanager"] = "at"
    device: str = ""
    baud: int = 115_200
    interface: str = ""
    data_mb_per_month: float = 0.0
    weak_dbm: float = -110.0
    good_dbm: float = -100.0
    weak_rscp_dbm: float = -105.0
    sinr: Literal["", "db", "fifths"] = ""


class Wifi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[wifi]]: one public wifi, met as a guest."""

    name: str
    every_s: float = 600.0
    deadline_s: float = 120.0
    via: Literal["networkmanager", "iw"] = "networkmanager"
    radio: str = ""
    ssid: str = ""
    bssids: tuple[str, ...] = ()
    credentials: str = ""
    weak_dbm: float = -75.0
    join_s: float = 30.0
