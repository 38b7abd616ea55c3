"""What an instrument's registers, values or sentences mean: a file in the form of the maps of docs/devices.md.

Beside `title`, `[[quantity]]` and `[salinity]`, which are those of codec/quantities.py, it says what to ask for:

[[block]]        Modbus: name, function (3 or 4), register (as on the wire, from 0), count
[[measurement]]  SDI-12: name, command ("M", "M1" to "M9", "C", "C1" to "C9"), crc
[[sentence]]     NMEA: name, formatter (such as "MTW")
[steady]         how often and for how long a value may stay the same, and which (codec's names; none: all of them)

A block gives the field `<name>` (its bytes, for `take`) and `<name>_1`, `<name>_2`, … (each register as a number); a
measurement gives `<name>_1`, … (its values in order); a sentence `<name>_1`, … (its fields after the formatter).
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from codec.errors import DecodeError, ProfileError
from codec.quantities import Overlay, QuantityRule, SalinityRule, read_quantities, rule_problem
from codec.take import take_number
from gateway.probes.serial.rtu import MOST_REGISTERS
from wire.reading import Quantity


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Registers that are read in one request."""

    name: str
    register: int
    count: int
    function: Literal[3, 4] = 3


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One SDI-12 measurement: M with a service request, C without; `crc` asks for MC or CC (SDI-12 1.3 on)."""

    name: str
    command: str = "M"
    crc: bool = True


class Sentence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An NMEA 0183 sentence that the instrument sends by itself."""

    name: str
    formatter: str


class Steady(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value of these that stays exactly the same `times` times in a row, over `s` seconds, is stuck. 0: never."""

    times: int = 0
    s: float = 0.0
    names: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: str
    quantity: tuple[QuantityRule, ...]
    block: tuple[Block, ...] = ()
    measurement: tuple[Measurement, ...] = ()
    sentence: tuple[Sentence, ...] = ()
    salinity: SalinityRule | None = None
    steady: Steady = Steady()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentMap:
    """One file, checked. `digest`: the first 8 hex digits of its SHA-256, so that readings can name it."""

    title: str
    blocks: tuple[Block, ...]
    measurements: tuple[Measurement, ...]
    sentences: tuple[Sentence, ...]
    quantities: tuple[QuantityRule, ...]
    salinity: SalinityRule | None
    steady: Steady
    digest: str

    def figures(self, data: Mapping[str, object]) -> tuple[Quantity, ...]:
        """Return the quantities in fields; raises DecodeError where a field is not there.

        A float that is no number is how many instruments say that they have no value: SENSOR_FAULT, without one.
        """
        fields, rules = dict(data), []
        for place, rule in enumerate(self.quantities):
            if rule.field not in data and f"{rule.field}_error" not in data:
                continue
            field = f"quantity {place}"
            number = take_number(data[rule.field], rule.field, rule.take) if rule.field in data else math.nan
            if isinstance(number, float) and not math.isfinite(number):
                fields[f"{field}_error"] = 1
            else:
                fields[field] = number
            rules.append(msgspec.structs.replace(rule, field=field, take=None))
        overlay = Overlay(lengths={}, quantities=tuple(rules), salinity=self.salinity)
        return read_quantities(fields, overlay)[0]


def fields_of_block(block: Block, data: bytes) -> dict[str, object]:
    """Return the fields that a block's bytes give."""
    registers = [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]
    return {block.name: list(data)} | {f"{block.name}_{at}": value for at, value in enumerate(registers, 1)}


def read_instrument_map(path: Path) -> InstrumentMap:
    """Read a map; raises ProfileError, which names the file and the key."""
    try:
        raw = path.read_bytes()
        content = msgspec.convert(tomllib.loads(raw.decode()), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProfileError(f"map {path}: {error}") from error
    problem = _problem(content)
    if problem:
        raise ProfileError(f"map {path}: {problem}")
    found = InstrumentMap(
        title=content.title,
        blocks=content.block,
        measurements=content.measurement,
        sentences=content.sentence,
        quantities=content.quantity,
        salinity=content.salinity,
        steady=content.steady,
        digest=hashlib.sha256(raw).hexdigest()[:8],
    )
    try:
        for block in found.blocks:  # a `take` past the end of its block shows here, not in the field
            found.figures(fields_of_block(block, bytes(2 * block.count)))
    except DecodeError as error:
        raise ProfileError(f"map {path}: {error}") from error
    return found


def _problem(content: _File) -> str:
    if not content.quantity:
        return "quantity: the map names none"
    for place, rule in enumerate(content.quantity):
        if wrong := rule_problem(rule, content.salinity):
            return f"quantity[{place}] ({rule.name}): {wrong}"
    for block in content.block:
        if not 1 <= block.count <= MOST_REGISTERS or not 0 <= block.register <= 0xFFFF - block.count + 1:
            return f"block {block.name}: count must lie in 1 to {MOST_REGISTERS}, register in 0 to 65535"
    for measurement in content.measurement:
        if not re.fullmatch(r"[MC][1-9]?", measurement.command):
            return f"measurement {measurement.name}: command is M, C, M1 to M9 or C1 to C9"
    for sentence in content.sentence:
        if not re.fullmatch(r"[A-Z]{3}|P[A-Z0-9]{2,8}", sentence.formatter):
            return f"sentence {sentence.name}: formatter is three capitals, or a maker's own address beginning with P"
    asked = [
        *(one.name for one in content.block),
        *(one.name for one in content.measurement),
        *(one.name for one in content.sentence),
    ]
    if len(set(asked)) != len(asked):
        return "two blocks, measurements or sentences have one name"
    for rule in content.quantity:
        if not any(rule.field == name or re.fullmatch(rf"{re.escape(name)}_\d+", rule.field) for name in asked):
            return f"quantity {rule.name}: field {rule.field!r} belongs to no block, measurement or sentence"
    for block in content.block:
        there = {block.name, *(f"{block.name}_{number}" for number in range(1, block.count + 1))}
        past = [rule.field for rule in content.quantity if rule.field.startswith(f"{block.name}_")]
        if missing := set(past) - there - set(asked):
            return f"block {block.name}: it has {block.count} registers, so there is no {', '.join(sorted(missing))}"
    unknown = set(content.steady.names) - {rule.name for rule in content.quantity}
    return f"steady.names: no quantity is named {', '.join(sorted(unknown))}" if unknown else ""
