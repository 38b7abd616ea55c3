"""Modems that ModemManager drives. Those that nobody drives are met at the serial ports, by AT."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.discover.finding import Family, Finding, Section, Standing, Unsearched
from gateway.discover.known import Known
from gateway.discover.names import Names, slug
from gateway.language import Text
from gateway.probes.errors import ProbeError
from gateway.probes.limits import shown_text
from gateway.probes.network.modem_manager import Present, present
from gateway.probes.network.settings import Modem
from gateway.probes.outcome import Reason

_SHOWN: Final = frozenset({"via", "device"})
_DATA: Final = Text(
    "muốn đo cả dữ liệu: thêm interface (cổng mạng của modem) và data_mb_per_month",
    "to measure data, too: add interface (the modem's network interface) and data_mb_per_month",
)


async def search(bus: str | None = None) -> tuple[list[Present], list[Unsearched]]:
    """Return ModemManager's modems; raises nothing where there is no ModemManager, which is said."""
    try:
        return await present(bus), []
    except ProbeError as error:
        return [], [_unsearched(error)]


def findings(found: Iterable[Present], known: Known, names: Names) -> list[Finding]:
    """Say what each modem is, and how it would be configured. Pure."""
    return [_finding(one, known, names) for one in found]


def modem_section(settings: Modem, what: Text) -> Section:
    """Return a modem's section; its data is left to whoever pays for the SIM."""
    return Section(table="modem", settings=settings, show=_SHOWN, notes=(what, _DATA))


def _finding(one: Present, known: Known, names: Names) -> Finding:
    maker, model, operator = (shown_text(text) for text in (one.maker, one.model, one.operator))
    label = " ".join(word for word in (maker, model, operator and f"({operator})") if word)
    what = Text(f"modem {label}, do ModemManager điều khiển", f"modem {label}, driven by ModemManager")
    facts: dict[str, str | int | float | bool | list[str]] = {
        "port": shown_text(one.port), "ports": sorted(shown_text(port) for port in one.ports), "maker": maker,
        "model": model, "operator": operator,
    }  # fmt: skip
    thing = f"modemmanager:{shown_text(one.port)}"
    if known.has_modem(one.ports):
        return Finding(family=Family.MODEM, thing=thing, what=what, standing=Standing.KNOWN, facts=facts)
    name = names.give(slug(operator) or slug(model) or "modem", one.port)
    return Finding(
        family=Family.MODEM,
        thing=thing,
        what=what,
        standing=Standing.NEW,
        section=modem_section(Modem(name=name, via="modemmanager", device=one.port), what),
        facts=facts,
    )


def _unsearched(error: ProbeError) -> Unsearched:
    if error.reason is Reason.NO_PERMISSION:
        remedy = Text("chạy lại bằng sudo", "run it again with sudo")
    else:
        remedy = Text(
            "modem không do ModemManager điều khiển được tìm qua cổng nối tiếp; hoặc cài ModemManager rồi chạy lại",
            "modems without it are looked for at the serial ports; or install it and run this again",
        )
    return Unsearched(
        family=Family.MODEM,
        thing="ModemManager",
        what=Text("không hỏi được ModemManager", "ModemManager could not be asked"),
        remedy=remedy,
        detail=shown_text(str(error)),
    )
