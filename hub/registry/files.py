"""The registry as a TOML file: parsed and checked into frozen values, before anything is changed."""

from __future__ import annotations

import base64
import binascii
import difflib
import itertools
import tomllib
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from wire.identity import GatewayId, SourceId, from_plain
from wire.keys import Algorithm, KeyProblem, PublicKey

T = TypeVar("T", bound=msgspec.Struct)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]
Aware = Annotated[datetime, msgspec.Meta(tz=True)]

_HEX_LENGTHS: Final = (64, 66)  # 32 bytes (Ed25519) or 33 (a compressed P-256 point)


class RegistryError(Exception):
    """A registry file that must be mended first: the message names file, table and key."""


class AdministrativeUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit as it stood from `valid_from` to the day before `valid_to` (None: until further notice).

    `kind` is the word of its time (tỉnh, xã, ấp, ...): no level is built in. `successor` is the code that took over.
    """

    code: Code
    name: Name
    kind: Name
    parent: Code | None = None
    valid_from: date
    valid_to: date | None = None
    successor: Code | None = None


class EnrolledGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway and the key that its batches must be signed with; after `revoked_at` nothing is admitted."""

    gateway_id: GatewayId
    name: str = ""
    unit: Code | None = None
    key: PublicKey
    enrolled_at: datetime
    revoked_at: datetime | None = None


class PlacedSource(msgspec.Struct, frozen=True, kw_only=True, rename={"source_id": "id"}):
    """A source that somebody has put somewhere: its name, kind, unit, device profile and position in WGS 84 degrees."""

    gateway: GatewayId
    source_id: SourceId
    name: Name | None = None
    kind: Name | None = None
    unit: Code | None = None
    profile: Name | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a registry file says."""

    units: tuple[AdministrativeUnit, ...] = ()
    gateways: tuple[EnrolledGateway, ...] = ()
    sources: tuple[PlacedSource, ...] = ()


class _GatewayTable(msgspec.Struct, frozen=True, kw_only=True, rename={"gateway_id": "id"}):
    """A gateway as it is written down: the key as text."""

    gateway_id: GatewayId
    name: str = ""
    unit: Code | None = None
    algorithm: Algorithm
    public_key: str
    enrolled_at: Aware
    revoked_at: Aware | None = None


_TABLES: Final[dict[str, type[msgspec.Struct]]] = {
    "administrative_unit": AdministrativeUnit,
    "gateway": _GatewayTable,
    "source": PlacedSource,
}


def parse_registry(text: str, place: str) -> Registry:
    """Parse and check a registry file called `place`; raises RegistryError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError(f"{place}: {error}") from error
    _refuse_unknown(document, _TABLES, place)
    units = tuple(_rows(document, "administrative_unit", AdministrativeUnit, place))
    gateways = tuple(
        _enrolled(table, f"{place}: gateway {table.gateway_id!r}")
        for table in _rows(document, "gateway", _GatewayTable, place)
    )
    sources = tuple(_rows(document, "source", PlacedSource, place))
    _check_units(units, place)
    _check_gateways(gateways, units, place)
    _check_sources(sources, gateways, units, place)
    return Registry(units=units, gateways=gateways, sources=sources)


def _rows(document: dict[str, Any], name: str, kind: type[T], place: str) -> Iterator[T]:
    tables = document.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RegistryError(f"{place}: {name!r} is a list of tables; write [[{name}]]")
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for number, table in enumerate(tables, start=1):
        where = f"{place}: {name} {table.get('id') or table.get('code') or number!r}"
        _refuse_unknown(table, known, where)
        try:
            yield msgspec.convert(table, kind, dec_hook=from_plain)
        except (msgspec.ValidationError, ValueError) as error:
            raise RegistryError(f"{where}: {error}") from error


def _refuse_unknown(table: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in (names := sorted(known)):
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
            raise RegistryError(f"{where}: unknown key {key!r}; {hint}")


def _enrolled(table: _GatewayTable, where: str) -> EnrolledGateway:
    try:
        key = PublicKey(table.algorithm, _key_bytes(table.public_key))
        key.verifier()
    except (KeyProblem, binascii.Error, ValueError) as error:
        raise RegistryError(f"{where}: public_key: {error}; it is written in hex or base64") from error
    return EnrolledGateway(
        gateway_id=table.gateway_id,
        name=table.name,
        unit=table.unit,
        key=key,
        enrolled_at=table.enrolled_at,
        revoked_at=table.revoked_at,
    )


def _key_bytes(text: str) -> bytes:
    """Read hex when it has the length of a key in hex, base64 otherwise: base64 of a key is shorter, at most 44."""
    return bytes.fromhex(text) if len(text) in _HEX_LENGTHS else base64.b64decode(text, validate=True)


def _check_units(units: tuple[AdministrativeUnit, ...], place: str) -> None:
    codes = {unit.code for unit in units}
    for unit in units:
        where = f"{place}: administrative_unit {unit.code!r}"
        if unit.valid_to is not None and unit.valid_to <= unit.valid_from:
            raise RegistryError(f"{where}: valid_to: {unit.valid_to} is not after valid_from {unit.valid_from}")
        for key in ("parent", "successor"):
            if (other := getattr(unit, key)) is not None and other not in codes:
                raise RegistryError(f"{where}: {key}: there is no administrative_unit {other!r} in this file")
    _check_overlaps(units, place)
    for unit in units:
        _check_ancestors(unit, units, place)


def _check_overlaps(units: tuple[AdministrativeUnit, ...], place: str) -> None:
    ordered = sorted(units, key=lambda unit: (unit.code, unit.valid_from))
    for earlier, later in itertools.pairwise(ordered):
        if earlier.code == later.code and (earlier.valid_to is None or later.valid_from < earlier.valid_to):
            raise RegistryError(
                f"{place}: administrative_unit {later.code!r}: valid_from: {later.valid_from} lies in the time of the "
                f"entry from {earlier.valid_from}; give that one a valid_to"
            )


def _check_ancestors(unit: AdministrativeUnit, units: tuple[AdministrativeUnit, ...], place: str) -> None:
    """Refuse a tree that bites its tail, at any date: parents are compared by code."""
    parents: dict[str, set[str]] = {}
    for one in units:
        parents.setdefault(one.code, set()).update([one.parent] if one.parent else [])
    ahead, seen = set(parents[unit.code]), set[str]()
    while ahead:
        if unit.code in ahead:
            raise RegistryError(f"{place}: administrative_unit {unit.code!r}: parent: it is among its own ancestors")
        seen |= ahead
        ahead = set().union(*(parents[code] for code in ahead)) - seen


def _check_gateways(gateways: tuple[EnrolledGateway, ...], units: tuple[AdministrativeUnit, ...], place: str) -> None:
    seen: set[GatewayId] = set()
    for gateway in gateways:
        where = f"{place}: gateway {gateway.gateway_id!r}"
        if gateway.gateway_id in seen:
            raise RegistryError(f"{where}: id: it stands here twice")
        seen.add(gateway.gateway_id)
        _check_unit(gateway.unit, units, where)


def _check_sources(
    sources: tuple[PlacedSource, ...],
    gateways: tuple[EnrolledGateway, ...],
    units: tuple[AdministrativeUnit, ...],
    place: str,
) -> None:
    known, seen = {gateway.gateway_id for gateway in gateways}, set()
    for source in sources:
        where = f"{place}: source {source.source_id!r}"
        if source.gateway not in known:
            raise RegistryError(f"{where}: gateway: there is no gateway {source.gateway!r} in this file")
        if (source.gateway, source.source_id) in seen:
            raise RegistryError(f"{where}: id: it stands here twice for gateway {source.gateway!r}")
        seen.add((source.gateway, source.source_id))
        if (source.latitude is None) != (source.longitude is None):
            raise RegistryError(f"{where}: latitude and longitude come together or not at all")
        _check_unit(source.unit, units, where)


def _check_unit(code: str | None, units: tuple[AdministrativeUnit, ...], where: str) -> None:
    if code is not None and code not in {unit.code for unit in units}:
        raise RegistryError(f"{where}: unit: there is no administrative_unit {code!r} in this file")


def read_registry(path: Path) -> Registry:
    """Read and check a registry file; raises RegistryError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: {error}; samples/registry.toml is an annotated one to start from") from error
    return parse_registry(text, str(path))
