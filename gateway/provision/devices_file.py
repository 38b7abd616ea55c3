"""The installer's list of devices: CSV or TOML, read whole and judged whole, so that every slip is named at once. Pure.

    dev_eui,join_eui,app_key,model,name,place
    A84041FFFF000001,A840410000000100,00112233445566778899AABBCCDDEEFF,dragino/ldds75,Cống số 1,Thôn Đông

The list holds root keys: it stays with the installer, mode 0600. A key prints as nothing but its name, here and below.
"""

from __future__ import annotations

import csv
import io
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wire.identity import DevEui, IdentityError

MOST_DEVICES: Final = 10_000
NO_JOIN_EUI: Final = "0" * 16
_COLUMNS: Final = ("dev_eui", "join_eui", "app_key", "nwk_key", "model", "name", "place", "interval_s", "map")
_NEEDED: Final = ("dev_eui", "model")
_LONGEST: Final = 100  # characters of a name or place
_KEY = re.compile(r"[0-9a-fA-F]{32}")
_EUI = re.compile(r"[0-9a-fA-F]{16}")
# What labels and spreadsheets put between the digits.
_BETWEEN = re.compile(r"[\s:.-]")
_WEAK: Final = frozenset({"0" * 32, "f" * 32})


class DevicesFileError(ValueError):
    """Theirs to mend: every problem of the list, one a line, each with its place. No key is ever quoted."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class RootKey:
    """A LoRaWAN root key, 32 hex digits. It shows itself to nobody; `hex` is for the one call that sends it."""

    hex: str = field(repr=False)

    def __str__(self) -> str:
        return "RootKey(hidden)"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDevice:
    """One line of the list. `app_key` None: the device's keys are ChirpStack's already, and stay as they are."""

    dev_eui: DevEui
    model: str  # <vendor>/<device>[@<firmware>]
    join_eui: str = NO_JOIN_EUI
    app_key: RootKey | None = None
    nwk_key: RootKey | None = None  # LoRaWAN 1.1 alone has two
    name: str = ""
    place: str = ""
    interval_s: float | None = None
    map: str = ""  # of a bridge: what its channels mean, for the gateway alone

    @property
    def title(self) -> str:
        """What ChirpStack shows: the name, or the DevEUI."""
        return self.name or str(self.dev_eui)


def read_devices(path: Path) -> list[WantedDevice]:
    """Read a list by its file name's end (.csv, .toml); raises DevicesFileError with every problem in it."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets write a byte order mark
    except FileNotFoundError:
        raise DevicesFileError(path, ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DevicesFileError(path, [f"cannot be read as UTF-8 text: {error}"]) from error
    try:
        rows = list(_toml_rows(text) if path.suffix.lower() == ".toml" else _csv_rows(text))
    except (tomllib.TOMLDecodeError, csv.Error, _FormError) as error:
        raise DevicesFileError(path, [str(error)]) from error
    return _judge(path, rows)


def is_private(path: Path) -> bool:
    """Whether only its owner may read the file."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


class _FormError(ValueError):
    """The file as a whole is no list of devices."""


Row = tuple[str, Mapping[str, str]]  # its place for messages, and its fields


def _csv_rows(text: str) -> Iterator[Row]:
    header = text.partition("\n")[0]
    # A spreadsheet with a comma as decimal sign separates by semicolons.
    reader = csv.reader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",", strict=True)
    names = [name.strip().lower() for name in next(reader, [])]
    _check_columns(names)
    for cells in reader:
        place = f"line {reader.line_num}"
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        if len(cells) > len(names):
            raise _FormError(f"{place}: {len(cells)} cells, the first line names {len(names)}")
        yield place, dict(zip(names, (cell.strip() for cell in cells), strict=False))


def _toml_rows(text: str) -> Iterator[Row]:
    document = tomllib.loads(text)
    tables = document.pop("device", None)
    if document or not isinstance(tables, list):
        extra = f", not {', '.join(sorted(document))}" if document else ""
        raise _FormError(f"a TOML list of devices holds [[device]] tables{extra}")
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            raise _FormError(f"device {number} is no table: write [[device]]")
        _check_columns(list(table))
        yield f"device {number}", {name: _text(value) for name, value in table.items()}


def _text(value: Any) -> str:
    return str(value).strip()


def _check_columns(names: list[str]) -> None:
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        raise _FormError(f"unknown column {unknown[0]!r:.40}; known here: {', '.join(_COLUMNS)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _FormError(f"column {twice[0]!r} stands there twice")
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        raise _FormError(f"column {lacking[0]!r} is missing; the first line of a CSV list names the columns")


def _judge(path: Path, rows: list[Row]) -> list[WantedDevice]:
    if len(rows) > MOST_DEVICES:
        raise DevicesFileError(path, [f"{len(rows)} devices; a list holds at most {MOST_DEVICES}"])
    problems: list[str] = []
    devices: list[WantedDevice] = []
    places: dict[DevEui, str] = {}
    for place, fields in rows:
        try:
            device = _device(fields)
        except (ValueError, IdentityError) as error:
            problems.append(f"{place}: {error}")
            continue
        if device.dev_eui in places:
            problems.append(f"{place}: {device.dev_eui} stands in {places[device.dev_eui]} already")
        places[device.dev_eui] = place
        devices.append(device)
    problems += _shared_keys(devices)
    if problems:
        raise DevicesFileError(path, problems)
    return devices


def _shared_keys(devices: list[WantedDevice]) -> Iterator[str]:
    """Two devices with one key: a line copied and not changed, and a hole in the network's security."""
    holder: dict[str, DevEui] = {}
    for device in devices:
        if device.app_key is None:
            continue
        other = holder.setdefault(device.app_key.hex, device.dev_eui)
        if other != device.dev_eui:
            yield f"{device.dev_eui} has the same app_key as {other}: each device has its own"


def _device(fields: Mapping[str, str]) -> WantedDevice:
    for column, text in fields.items():
        # Said without quoting it: messages are copied into mails.
        if not column.endswith("_key") and _KEY.fullmatch(_BETWEEN.sub("", text)):
            raise ValueError(f"{column} holds 32 hex digits: is this the key, in the wrong column?")
    if not fields.get("model"):
        raise ValueError("model is empty; `xom profile list` shows what there is")
    return WantedDevice(
        dev_eui=DevEui.parse(_eui(fields.get("dev_eui", ""), "dev_eui")),
        model=fields["model"],
        join_eui=_eui(fields["join_eui"], "join_eui") if fields.get("join_eui") else NO_JOIN_EUI,
        app_key=_key(fields.get("app_key", ""), "app_key"),
        nwk_key=_key(fields.get("nwk_key", ""), "nwk_key"),
        name=_label(fields.get("name", ""), "name"),
        place=_label(fields.get("place", ""), "place"),
        interval_s=_interval(fields.get("interval_s", "")),
        map=_label(fields.get("map", ""), "map"),
    )


def _eui(text: str, column: str) -> str:
    digits = _BETWEEN.sub("", text)
    if not _EUI.fullmatch(digits):
        # A spreadsheet turns long digits into 1.2E+15 and drops zeros in front: say so, it is the usual cause.
        hint = " (a spreadsheet made a number of it: format the column as text)" if re.search(r"[eE]\+", text) else ""
        raise ValueError(f"{column} {text!r:.40} is not 16 hex digits{hint}")
    return digits.lower()


def _key(text: str, column: str) -> RootKey | None:
    digits = _BETWEEN.sub("", text).lower()
    if not digits:
        return None
    if not _KEY.fullmatch(digits):
        raise ValueError(f"{column} is not 32 hex digits (it has {len(digits)} characters)")
    if digits in _WEAK:
        raise ValueError(f"{column} is all zeros or all ones, which is no key")
    return RootKey(digits)


def _label(text: str, column: str) -> str:
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"{column} is longer than {_LONGEST} characters, or holds signs that cannot be printed")
    return text


def _interval(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"interval_s {text!r:.20} is not a number of seconds") from None
    if not 1 <= seconds <= 7 * 86_400:
        raise ValueError(f"interval_s {text} is not between 1 s and a week")
    return seconds
