"""`xom profile`: look at device profiles, decode a frame by hand, run the vectors of a profile tree."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from codec.engine import Engine, Limits
from codec.errors import DecodeError, ProfileError
from codec.profiles import ProfileLibrary
from codec.quantities import check_payload, read_quantities, shown
from codec.vectors import Outcome, run_tree
from wire.reading import Quality, Quantity

profile_app = typer.Typer(
    help="Device profiles: list and show them, decode a frame by hand, test a tree of codecs.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder with vendors/ and quantities/; the installed profiles when left out."),
]
Name = Annotated[str, typer.Argument(help="<vendor>/<device>[@<firmware>]; the last firmware when left out.")]


@profile_app.command("test")
def run_vectors(
    path: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A tree in the ChirpStack repository layout.")
    ],
    as_json: Json = False,
) -> None:
    """Run every test_decode_*.json and test_encode_*.json of a tree, as ES modules; exit 1 when one fails."""
    outcomes = list(run_tree(path))
    failures = [outcome for outcome in outcomes if outcome.problem]
    passed = len(outcomes) - len(failures)
    if as_json:
        _print({"passed": passed, "failed": len(failures), "failures": failures})
    else:
        _report(failures)
        typer.echo(f"{passed} passed, {len(failures)} failed")
    if failures:
        raise typer.Exit(1)


@profile_app.command("list")
def list_profiles(root: Root = None, as_json: Json = False) -> None:
    """List every device profile with its firmware."""
    library = ProfileLibrary(root)
    try:
        names = library.names()
    except ProfileError as error:
        raise _refused(error) from error
    if as_json:
        _print({"library_hash": library.library_hash, "profiles": names})
    else:
        typer.echo("\n".join(names))


@profile_app.command("show")
def show_profile(name: Name, root: Root = None, as_json: Json = False) -> None:
    """Show a profile: codec, interval, payload lengths by fPort, quantities with unit, range and fault codes."""
    try:
        profile = ProfileLibrary(root).profile(name)
    except ProfileError as error:
        raise _refused(error) from error
    described = msgspec.to_builtins(profile, str_keys=True)
    del described["script"]
    if as_json:
        _print(described)
        return
    overlay = described.pop("overlay")
    for key, value in described.items():
        typer.echo(f"{key:<11} {value}")
    for port, lengths in overlay["lengths"].items():
        typer.echo(f"fPort {port:<5} bytes {lengths}")
    for rule in overlay["quantities"]:
        typer.echo(f"{rule['field']:<32} {rule['name']} [{rule['unit']}] {rule['min']:g} to {rule['max']:g}")


@profile_app.command("decode")
def decode_frame(
    name: Name,
    frame: Annotated[str, typer.Argument(metavar="HEX", help="The payload as hex digits.")],
    port: Annotated[int, typer.Option(min=0, max=255, help="The LoRaWAN fPort.")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Decode one payload to quantities; exit 1 when it cannot be decoded, 2 when the question is malformed."""
    try:
        raw = bytes.fromhex(frame)
        decoded = _decode(ProfileLibrary(root), name, raw, port)
    except DecodeError as error:
        if as_json:
            _print({"undecoded": error.reason, "message": error.message})
        else:
            typer.echo(f"{error.reason}: {error.message}", err=True)
        raise typer.Exit(1) from error
    except ValueError as error:  # ProfileError, or not hex
        raise _refused(error) from error
    if as_json:
        _print(decoded)
    else:
        _tell(decoded)


def _decode(library: ProfileLibrary, name: str, raw: bytes, port: int) -> dict[str, Any]:
    profile = library.profile(name)
    if profile.script is None:
        raise ProfileError(f"{profile.name} has no codec")
    check_payload(raw, port, profile.overlay)
    decoded = Engine(profile.script, Limits()).decode(raw, port, time.time_ns() // 1_000_000)
    quantities, urgent = read_quantities(decoded.data, profile.overlay)
    return {
        "codec": profile.codec,
        "data": decoded.data,
        "quantities": [_row(quantity) for quantity in quantities],
        "warnings": decoded.warnings,
        "urgent": urgent,
    }


def _row(quantity: Quantity) -> dict[str, Any]:
    """A quantity with its quality by name: the wire's numbers are not for people."""
    return {
        "name": quantity.name,
        "unit": quantity.unit,
        "value": quantity.value,
        "quality": quantity.quality.name.lower(),
    }


def _tell(decoded: dict[str, Any]) -> None:
    for row in decoded["quantities"]:
        quantity = Quantity(row["name"], row["unit"], row["value"], Quality[row["quality"].upper()])
        typer.echo(f"{quantity.name:<28} {shown(quantity)}")
    for warning in decoded["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _report(failures: list[Outcome]) -> None:
    for failure in failures:
        typer.echo(f"FAIL {failure.file}: {failure.name}: {failure.problem}")


def _print(value: object) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def _refused(error: Exception) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(2)
