"""Where a number lies in what a bridge passed on: bytes of a Modbus answer, words of an SDI-12 answer. Pure."""

from __future__ import annotations

import re
import struct
from typing import Final, Literal

import msgspec

from codec.errors import DecodeError
from wire.reading import Undecoded

NumberType = Literal["u8", "s8", "u16", "s16", "u32", "s32", "f32"]
Order = Literal["big", "little"]

_FORMATS: Final[dict[str, str]] = {
    "u8": ">B",
    "s8": ">b",
    "u16": ">H",
    "s16": ">h",
    "u32": ">I",
    "s32": ">i",
    "f32": ">f",
}
# SDI-12 1.4, section 4.4.5: each value begins with its sign.
_SDI12_VALUE: Final = re.compile(r"[+-]\d+(?:\.\d*)?|[+-]\.\d+")


class Take(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """How to read one number.

    From bytes: `type` at byte `at`; `byte_order` within each 16-bit register, `word_order` of its registers (Modbus
    itself says big and leaves the registers' order open). From text: the `value`-th signed number, counted from 1. From
    a number: `type` reads it as that signed type.
    """

    at: int | None = None
    type: NumberType | None = None
    byte_order: Order = "big"
    word_order: Order = "big"
    value: int | None = None


def problem_of(take: Take) -> str:
    """Say what is wrong with a description, "" when nothing is."""
    if take.value is not None:
        if take.at is not None or take.type is not None:
            return "`value` counts numbers in a text; it goes without `at` and `type`"
        return "" if take.value >= 1 else "`value` counts from 1"
    if take.type is None:
        return "`type` is missing"
    if take.at is not None and not 0 <= take.at <= 255:
        return "`at` must lie between 0 and 255"
    return ""


def take_number(source: object, field: str, take: Take | None) -> object:
    """Return the number in a codec's field; raises DecodeError (BAD_OUTPUT, WRONG_LENGTH) where it is not there."""
    if take is None:
        return source
    if take.value is not None:
        return _from_text(source, field, take.value)
    if take.at is not None:
        return _from_bytes(source, field, take)
    return _as_signed(source, field, take)


def _from_text(source: object, field: str, number: int) -> float:
    if not isinstance(source, str):
        raise DecodeError(Undecoded.BAD_OUTPUT, f"{field} is no text")
    found = _SDI12_VALUE.findall(source)
    if len(found) < number:
        raise DecodeError(Undecoded.WRONG_LENGTH, f"{field} has {len(found)} values, the map asks for number {number}")
    return float(found[number - 1])


def _from_bytes(source: object, field: str, take: Take) -> float:
    form = _FORMATS[take.type or "u16"]
    size, at = struct.calcsize(form), take.at or 0
    if not isinstance(source, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in source):
        raise DecodeError(Undecoded.BAD_OUTPUT, f"{field} is no list of bytes")
    if at + size > len(source):
        raise DecodeError(
            Undecoded.WRONG_LENGTH, f"{field} has {len(source)} bytes, the map asks for bytes {at} to {at + size - 1}"
        )
    return float(struct.unpack(form, _in_order(bytes(source[at : at + size]), take))[0])


def _in_order(raw: bytes, take: Take) -> bytes:
    words = [raw[place : place + 2] for place in range(0, len(raw), 2)]
    if take.byte_order == "little":
        words = [word[::-1] for word in words]
    return b"".join(words if take.word_order == "big" else reversed(words))


def _as_signed(source: object, field: str, take: Take) -> object:
    if type(source) is not int or take.type not in {"s8", "s16", "s32"}:
        return source
    limit = 1 << int(take.type[1:])
    if not 0 <= source < limit:
        raise DecodeError(Undecoded.BAD_OUTPUT, f"{field} is {source}, which is no {take.type}")
    return source - limit if source >= limit // 2 else source
