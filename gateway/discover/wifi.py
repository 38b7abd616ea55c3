"""Wifi networks: what NetworkManager's radios hear, else what `iw` does. The open ones may be public ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.discover.finding import NOTHING, Family, Finding, Section, Standing, Unsearched
from gateway.discover.known import Known
from gateway.discover.names import Names, slug
from gateway.language import Text
from gateway.probes.errors import ProbeError
from gateway.probes.limits import shown_text
from gateway.probes.network import iw
from gateway.probes.network.network_manager import Surroundings, surroundings
from gateway.probes.network.scan import Cell, Security, read_radios, read_scan
from gateway.probes.network.settings import Wifi
from gateway.probes.outcome import Reason

_MOST_NETWORKS: Final = 128
_SHOWN: Final = frozenset({"via", "radio", "ssid"})
_GUEST: Final = (Security.OPEN, Security.OWE)
_ADVICE: Final = Text(
    "chỉ giữ lại mạng công cộng của xã, thôn; xoá mạng của nhà dân", "keep only what is the commune's own public wifi"
)
_OWN_WAY: Final = Text(
    "card {radio} đang là đường mạng của trạm: cắm thêm card wifi thứ hai, sửa radio, rồi bỏ dấu #",
    "{radio} is the gateway's own way out: plug in a second radio, put it in here, then take the # off",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a radio hears, and through whom it was asked."""

    radio: str
    via: Literal["networkmanager", "iw"]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """All access points of one name, as the radio hears them that hears the best of them best."""

    ssid: str
    radio: str
    via: Literal["networkmanager", "iw"]
    securities: tuple[str, ...]
    is_open: bool
    points: int
    signal_dbm: float | None
    strength_percent: float | None


async def search(bus: str | None = None, program: str = "iw") -> tuple[list[Heard], list[Unsearched]]:
    """Return what the radios hear; raises nothing where there is none, which is said."""
    try:
        found = await surroundings(bus)
    except ProbeError as error:
        return await _by_iw(program, error)
    heard = [Heard(radio=one.radio, via="networkmanager", cells=one.cells) for one in found if not one.problem]
    silent = [_of_radio(one) for one in found if one.problem]
    return heard, silent if found else [_without_radio("NetworkManager knows no wifi radio")]


def networks_of(heard: Iterable[Heard]) -> list[Network]:
    """Return the networks with a name, the best heard first. Pure."""
    by_name: dict[str, list[tuple[Heard, Cell]]] = defaultdict(list)
    for one in heard:
        for cell in one.cells:
            if cell.ssid.strip("\0") and (cell.ssid in by_name or len(by_name) < _MOST_NETWORKS):
                by_name[cell.ssid].append((one, cell))
    found = [_network(ssid, cells) for ssid, cells in by_name.items()]
    return sorted(found, key=lambda one: (-_loudness(one.signal_dbm, one.strength_percent), one.ssid))


def findings(networks: Iterable[Network], known: Known, names: Names, own_way: str) -> list[Finding]:
    """Say what each network is; the open ones with how they would be configured. Pure.

    `own_way` is the interface of the gateway's own way out: a radio that joins another network as a guest would cut it.
    """
    return [_finding(one, known, names, own_way) for one in networks]


def _network(ssid: str, cells: list[tuple[Heard, Cell]]) -> Network:
    heard, best = max(cells, key=lambda one: _loudness(one[1].signal_dbm, one[1].strength_percent))
    return Network(
        ssid=ssid,
        radio=heard.radio,
        via=heard.via,
        securities=tuple(sorted({_security(cell) for _, cell in cells})),
        is_open=any(cell.security in _GUEST for _, cell in cells),
        points=len({cell.bssid for _, cell in cells}),
        signal_dbm=best.signal_dbm,
        strength_percent=best.strength_percent,
    )


def _finding(one: Network, known: Known, names: Names, own_way: str) -> Finding:
    secured = "/".join(one.securities)
    loud = f"{one.signal_dbm:g} dBm" if one.signal_dbm is not None else f"{one.strength_percent or 0:g} %"
    what = Text(
        f"wifi {secured}, {one.points} điểm phát, sóng {loud}, nghe bằng {shown_text(one.radio)}",
        f"wifi {secured}, access points: {one.points}, {loud}, heard by {shown_text(one.radio)}",
    )
    facts: dict[str, str | int | float | bool | list[str]] = {
        "ssid": one.ssid, "security": list(one.securities), "access_points": one.points, "radio": one.radio,
    }  # fmt: skip
    if one.signal_dbm is not None:
        facts["signal_dbm"] = one.signal_dbm
    if one.strength_percent is not None:
        facts["strength_percent"] = one.strength_percent
    standing, section, advice = Standing.SEEN, None, NOTHING
    if known.has_wifi(one.ssid):
        standing = Standing.KNOWN
    elif "\ufffd" in one.ssid or len(one.ssid.encode()) > 32:
        advice = Text("tên mạng không đọc được bằng UTF-8", "its name is no UTF-8: it cannot be configured")
    elif one.is_open:
        is_own = one.radio == own_way
        section = _section(one, names, what, is_own=is_own)
        standing = Standing.HAND if is_own else Standing.NEW
        advice = Text(*(text.format(radio=shown_text(one.radio)) for text in _OWN_WAY)) if is_own else _ADVICE
    return Finding(
        family=Family.WIFI,
        thing=shown_text(one.ssid),
        what=what,
        standing=standing,
        candidate=section is not None,
        advice=advice,
        section=section,
        facts=facts,
    )


def _section(one: Network, names: Names, what: Text, *, is_own: bool) -> Section:
    settings = Wifi(name=names.give(slug(one.ssid) or "wifi"), via=one.via, radio=one.radio, ssid=one.ssid)
    why = Text(*(text.format(radio=shown_text(one.radio)) for text in _OWN_WAY))
    return Section(
        table="wifi",
        settings=settings,
        show=_SHOWN,
        notes=(what, _ADVICE, *((why,) if is_own else ())),
        whole=not is_own,
    )


def _security(cell: Cell) -> str:
    return "sae" if cell.sae_only else cell.security.name.lower()


def _loudness(dbm: float | None, percent: float | None) -> float:
    """Return a figure to compare by; 100 % is about -50 dBm, 0 % about -100."""
    return dbm if dbm is not None else (percent or 0.0) / 2 - 100


async def _by_iw(program: str, why: ProbeError) -> tuple[list[Heard], list[Unsearched]]:
    """Ask `iw`, for there is no NetworkManager."""
    try:
        radios = read_radios(await iw.say(program, "dev"))
    except ProbeError as error:
        return [], [_without_radio(f"{why}; {error}")]
    if not radios:
        return [], [_without_radio(f"{why}; iw knows no radio")]
    heard: list[Heard] = []
    silent: list[Unsearched] = []
    for radio, kind in radios:
        if kind != "managed":
            why_not = f"{radio} is of type {kind}"
            silent.append(_of_radio(Surroundings(radio=radio, problem=Reason.BUSY, explanation=why_not)))
            continue
        try:
            heard.append(
                Heard(radio=radio, via="iw", cells=tuple(read_scan(await iw.say(program, "dev", radio, "scan"))))
            )
        except ProbeError as error:
            silent.append(_of_radio(Surroundings(radio=radio, problem=error.reason, explanation=str(error))))
    return heard, silent


def _without_radio(detail: str) -> Unsearched:
    return Unsearched(
        family=Family.WIFI,
        thing="wifi",
        what=Text("không dò được sóng wifi", "wifi could not be scanned"),
        remedy=Text(
            "cần NetworkManager hoặc gói iw, và một card wifi; không có quyền thì chạy bằng sudo",
            "it needs NetworkManager or the package iw, and a radio; where a right is missing, use sudo",
        ),
        detail=shown_text(detail),
    )


def _of_radio(one: Surroundings) -> Unsearched:
    remedies = {
        Reason.NO_PERMISSION: Text("chạy lại bằng sudo", "run it again with sudo"),
        Reason.BUSY: Text("cắm một card wifi riêng để dò", "plug in a radio of its own to scan with"),
        Reason.MISCONFIGURED: Text("nmcli device set {radio} managed yes", "nmcli device set {radio} managed yes"),
        Reason.NO_EQUIPMENT: Text("rfkill unblock wifi, rồi chạy lại", "rfkill unblock wifi, then run it again"),
    }
    remedy = remedies.get(one.problem, Text("chạy lại sau ít phút", "run it again in some minutes"))
    return Unsearched(
        family=Family.WIFI,
        thing=shown_text(one.radio),
        what=Text("card wifi này không dò được", "this radio cannot scan"),
        remedy=Text(*(text.format(radio=shown_text(one.radio)) for text in remedy)),
        detail=shown_text(one.explanation),
    )
