"""What was found at the serial ports, as sections of the configuration. Pure, but for the library of maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from codec.errors import ProfileError
from gateway.discover.finding import NOTHING, Family, Finding, Section, Standing, Unsearched
from gateway.discover.modems import modem_section
from gateway.discover.names import Names, slug
from gateway.discover.serial import Looked, Role
from gateway.language import Text
from gateway.probes.network.settings import Modem
from gateway.probes.outcome import Reason
from gateway.probes.serial.build import LIBRARY
from gateway.probes.serial.instrument_map import read_instrument_map
from gateway.probes.serial.settings import SerialBus, SerialInstrument

_SHOWN: Final = frozenset({"port", "protocol", "baud", "address", "map"})
_LISTEN_S: Final = 5.0  # a receiver speaks each second, a gauge each few
_RUN_AGAIN: Final = Text(
    "nếu là đường RS-485: chạy lại với --scan-bus; nếu là modem: --ask-ports",
    "if it is an RS-485 line: run it again with --scan-bus; if it is a modem: --ask-ports",
)
_UNSTABLE: Final = Text(
    "cổng này không có tên cố định trong /dev/serial: tên có thể đổi khi cắm lại",
    "this port has no stable name in /dev/serial: it may have another after it was plugged in again",
)
_WANTS_MAP: Final = Text(
    "điền map (docs/probes/serial.md), rồi bỏ dấu # ở đầu các dòng của khối này",
    "put in the map (docs/probes/serial.md), then take the # off the lines of this block",
)
_WHATS: Final = {
    Role.CONSOLE: Text("cổng điều khiển của chính máy này, không mở", "this machine's own console, not opened"),
    Role.MANAGED: Text("thuộc modem do ModemManager điều khiển, không mở", "ModemManager's, not opened"),
    Role.SIBLING: Text("cổng khác của cùng một modem", "another port of the same modem"),
    Role.TALKS: Text("có dữ liệu nhưng không nhận ra giao thức", "it says something that we do not know"),
    Role.SILENT: Text("im lặng", "silent"),
}  # fmt: skip


def findings(looked: Iterable[Looked], names: dict[str, Names]) -> tuple[list[Finding], list[Unsearched]]:
    """Say what is at each port, and how it would be configured."""
    found: list[Finding] = []
    left: list[Unsearched] = []
    for one in looked:
        if one.role in (Role.HELD, Role.HIDDEN, Role.CLOSED):
            left.append(_left_alone(one))
        else:
            found.append(_finding(one, names))
    return found, left


def _finding(one: Looked, names: dict[str, Names]) -> Finding:
    what, section, standing, advice = _WHATS.get(one.role, NOTHING), None, Standing.SEEN, NOTHING
    match one.role:
        case Role.CONFIGURED:
            what = Text(f"đã có trong cấu hình ({one.detail}), không mở", f"configured ({one.detail}), not opened")
            standing = Standing.KNOWN
        case Role.GNSS:
            what, section = _gnss(one, names["serial"])
        case Role.NMEA:
            what, section = _nmea(one, names["serial"])
        case Role.MODEM:
            what, section = _modem(one, names["modem"])
        case Role.MODBUS:
            what, section = _modbus(one, names["serial"])
        case Role.SILENT | Role.TALKS:
            advice = _RUN_AGAIN
    if section is not None:
        standing, advice = (Standing.NEW, NOTHING) if section.whole else (Standing.HAND, _WANTS_MAP)
        advice = advice if one.port.is_stable else _UNSTABLE
    equipment = " ".join(word for word in (one.port.product, one.port.driver and f"[{one.port.driver}]") if word)
    return Finding(
        family=Family.MODEM if one.role is Role.MODEM else Family.SERIAL,
        thing=str(one.port.path),
        what=Text(*(f"{text} – {equipment}" if equipment else text for text in what)),
        standing=standing,
        candidate=one.role is Role.MODBUS,
        advice=advice,
        section=section,
        facts={
            "node": str(one.port.node), "driver": one.port.driver, "product": one.port.product,
            "role": one.role.name.lower(), "baud": one.baud, "sentences": list(one.kinds),
            "addresses": [str(address) for address in one.bus.addresses] if one.bus else [],
        },
    )  # fmt: skip


def _gnss(one: Looked, names: Names) -> tuple[Text, Section]:
    what = Text("máy thu GNSS (NMEA)", "a GNSS receiver (NMEA)")
    bus = SerialBus(
        name=names.give("gnss"), port=str(one.port.path), protocol="gnss", baud=one.baud, timeout_s=_LISTEN_S
    )
    return what, _section(bus, one, what)


def _nmea(one: Looked, names: Names) -> tuple[Text, Section]:
    said = ", ".join(one.kinds)
    what = Text(f"thiết bị NMEA: {said}", f"an NMEA instrument: {said}")
    meaning = _map_for(one.kinds)
    name = names.give("nmea")
    instrument = SerialInstrument(name=names.give(slug(meaning) or f"{name}-1"), map=meaning)
    bus = SerialBus(
        name=name, port=str(one.port.path), protocol="nmea", baud=one.baud, timeout_s=_LISTEN_S, instrument=[instrument]
    )
    return what, _section(bus, one, what, whole=bool(meaning))


def _modbus(one: Looked, names: Names) -> tuple[Text, Section]:
    bus = one.bus
    addresses = bus.addresses if bus is not None else ()
    baud, parity = (bus.baud, bus.parity) if bus is not None else (one.baud, "N")
    said = ", ".join(str(address) for address in addresses)
    line = f"{baud} 8{parity}1"
    what = Text(f"Modbus RTU {line}, có trả lời ở địa chỉ {said}", f"Modbus RTU {line}, answers at addresses {said}")
    name = names.give("rs485-1")
    there = [
        SerialInstrument(name=names.give(f"{name}-{address}"), map="", address=str(address)) for address in addresses
    ]
    settings = SerialBus(name=name, port=str(one.port.path), baud=baud, parity=parity, instrument=there)
    return what, _section(settings, one, what, whole=False)


def _modem(one: Looked, names: Names) -> tuple[Text, Section]:
    label = f"modem {one.detail}".strip()
    what = Text(f"{label}, trả lời lệnh AT", f"{label}, answers AT")
    words = one.detail.split()
    settings = Modem(
        name=names.give(slug(words[-1]) if words and slug(words[-1]) else "modem"), device=str(one.port.path)
    )
    return what, modem_section(settings, what)


def _section(bus: SerialBus, one: Looked, what: Text, *, whole: bool = True) -> Section:
    notes = [what, *([] if whole else [_WANTS_MAP]), *([] if one.port.is_stable else [_UNSTABLE])]
    return Section(
        table="serial_bus",
        settings=bus,
        show=_SHOWN | ({"parity"} if bus.protocol == "modbus-rtu" else set()),
        notes=tuple(notes),
        whole=whole,
    )


def _map_for(kinds: Iterable[str]) -> str:
    """Return the library's map whose sentences are all said, the one with most of them; "" for none."""
    said = {kind[-3:] for kind in kinds} | set(kinds)
    best, most = "", 0
    for path in sorted(LIBRARY.glob("*.toml")):
        try:
            wanted = [one.formatter for one in read_instrument_map(path).sentences]
        except ProfileError:
            continue  # the gateway says that itself where such a map is configured
        if len(wanted) > most and set(wanted) <= said:
            best, most = path.stem, len(wanted)
    return best


def _left_alone(one: Looked) -> Unsearched:
    if one.role is Role.HELD:
        what = Text(f"chương trình {one.detail} đang dùng cổng này, không mở", f"in use by {one.detail}, not opened")
        remedy = Text("dừng chương trình đó rồi chạy lại", "stop that program and run it again")
    elif one.role is Role.HIDDEN:
        what = Text(
            "không xem được có chương trình nào đang dùng cổng này, nên không mở",
            "whether a program uses this port cannot be seen, so it was not opened",
        )
        remedy = Text("chạy lại bằng sudo", "run it again with sudo")
    elif one.detail == Reason.NO_PERMISSION:
        what = Text("không có quyền mở cổng này", "this port may not be opened")
        remedy = Text(
            "chạy lại bằng sudo, hoặc thêm người dùng vào nhóm dialout", "use sudo, or join the group dialout"
        )
    else:
        what = Text("không đọc được cổng này", "this port could not be read")
        remedy = Text("rút ra cắm lại rồi chạy lại", "unplug it, plug it in again, run it again")
    return Unsearched(family=Family.SERIAL, thing=str(one.port.path), what=what, remedy=remedy, detail=one.detail)
