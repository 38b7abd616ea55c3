"""`xom profile`: look at device profiles, decode a frame by hand, run the vectors of a profile tree."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
import typer

from codec.engine import Engine, Limits
from codec.errors import DecodeError, ProfileError
from codec.lint import lint_tree
from codec.profiles import ProfileLibrary
from codec.quantities import check_payload, read_quantities, shown
from codec.vectors import Outcome, run_tree
from wire.reading import Quality, Quantity

profile_app = typer.Typer(
    help="Device profiles: list and show them, decode a frame by hand, test a tree of codecs.",
    no_args_is_help=True,
)

_TELL_EVERY_S: Final = 0.2

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
    processes: Annotated[int, typer.Option(min=0, help="How many at once; 0: one for each processor.")] = 0,
    as_json: Json = False,
) -> None:
    """Run every test_decode_*.json and test_encode_*.json of a tree; exit 1 when one fails.

    A vector passes when its codec, as an ES module (ChirpStack), returns what is expected, by value. What else is found
    (another order of keys, another result as a sloppy script, recvTime as text, state) is told as WARN and fails
    nothing.
    """
    outcomes = []
    with _Progress() as progress:
        for outcome in run_tree(path, processes=processes or None, told=progress.tick):
            outcomes.append(outcome)  # noqa: PERF402 - the progress is told meanwhile
    failures = [outcome for outcome in outcomes if outcome.problem]
    passed = len(outcomes) - len(failures)
    if as_json:
        _print(_test_report(path, outcomes))
    else:
        _report(path, outcomes)
        typer.echo(f"{passed} passed, {len(failures)} failed")
    if failures:
        raise typer.Exit(1)


@profile_app.command("lint")
def lint_profiles(
    path: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A tree in the ChirpStack repository layout.")
    ],
    as_json: Json = False,
) -> None:
    """Look over a tree without running a codec: ids, references, regions, units, what has no test; exit 1 on an error.

    Where the tree has our quantities/ beside vendors/, these are looked over too.
    """
    findings = lint_tree(path)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        _print({"errors": errors, "warnings": len(findings) - errors, "findings": findings})
    else:
        for finding in findings:
            typer.echo(f"{finding.level.upper():<7} {finding.file}: {finding.rule}: {finding.message}")
        typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if errors:
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
    frame: Annotated[
        str, typer.Argument(metavar="HEX", help="The payload as hex digits; - reads them from standard input.")
    ],
    port: Annotated[int, typer.Option(min=0, max=255, help="The LoRaWAN fPort.")],
    recv_time: Annotated[str, typer.Option(help="When it was heard, RFC 3339; now when left out.")] = "",
    variables: Annotated[str, typer.Option(help="The device's variables, a JSON object of texts.")] = "",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Decode one payload to quantities; exit 1 when it cannot be decoded, 2 when the question is malformed."""
    try:
        raw = bytes.fromhex(sys.stdin.read() if frame == "-" else frame)
        at_ms = int(datetime.fromisoformat(recv_time).timestamp() * 1000) if recv_time else time.time_ns() // 1_000_000
        decoded = _decode(ProfileLibrary(root), name, raw, port, at_ms, _variables(variables))
    except DecodeError as error:
        if as_json:
            _print({"undecoded": error.reason, "message": error.message})
        else:
            typer.echo(f"{error.reason}: {error.message}", err=True)
        raise typer.Exit(1) from error
    except ValueError as error:  # ProfileError, or not hex, no time, no JSON
        raise _refused(error) from error
    if as_json:
        _print(decoded)
    else:
        _tell(decoded)


def _variables(text: str) -> str:
    """Return the JSON of a device's variables; raises ValueError."""
    if not text:
        return ""
    value = json.loads(text)
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError("--variables is not a JSON object of texts")
    return json.dumps(value)


def _decode(
    library: ProfileLibrary, name: str, raw: bytes, port: int, recv_time_ms: int, variables: str
) -> dict[str, Any]:
    profile = library.profile(name)
    if profile.script is None:
        raise ProfileError(f"{profile.name} has no codec")
    check_payload(raw, port, profile.overlay)
    decoded = Engine(profile.script, Limits()).decode(raw, port, recv_time_ms, variables)
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


class _Progress:
    """A line on a terminal that counts vectors; nothing where nobody watches."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._done = 0
        self._told_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watched:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def tick(self) -> None:
        """Count one vector."""
        self._done += 1
        if self._watched and time.monotonic() - self._told_at > _TELL_EVERY_S:
            self._told_at = time.monotonic()
            sys.stderr.write(f"\r{self._done} vectors")
            sys.stderr.flush()


def _test_report(path: Path, outcomes: list[Outcome]) -> dict[str, Any]:
    failures = [outcome for outcome in outcomes if outcome.problem]
    return {
        "path": str(path),
        "passed": len(outcomes) - len(failures),
        "failed": len(failures),
        "key_order": sum(outcome.key_order for outcome in outcomes),
        "script_failed": sum(outcome.script is not None and not outcome.script.passed for outcome in outcomes),
        "warnings": [
            {"file": file, "trap": trap, "vectors": names, "message": message}
            for (file, trap), (names, message) in _gathered(outcomes).items()
        ],
        "failures": failures,
        "vectors": outcomes,
    }


def _report(path: Path, outcomes: list[Outcome]) -> None:
    """Tell the warnings, one line for each trap of a file, and then the failures."""
    for (file, trap), (names, message) in _gathered(outcomes).items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        typer.echo(f"WARN {_within(path, file)}: {names[0] or 'the file'}{others}: {trap}: {message}")
    for outcome in outcomes:
        if outcome.problem:
            problem = " ".join(outcome.problem.split())
            typer.echo(f"FAIL {_within(path, outcome.file)}: {outcome.name or 'the file'}: {problem}")
    if not outcomes:
        typer.echo(f"there is no test_decode_*.json or test_encode_*.json under {path}", err=True)


def _gathered(outcomes: list[Outcome]) -> dict[tuple[str, str], tuple[list[str], str]]:
    """Notes by file and trap: the vectors that met it, and the message of the first."""
    gathered: dict[tuple[str, str], tuple[list[str], str]] = {}
    for outcome in outcomes:
        notes = [(note.trap, note.message) for note in outcome.notes]
        if outcome.key_order:
            notes.append(
                ("key_order", "right by value; that repository's runner compares text, where the order counts")
            )
        for trap, message in notes:
            gathered.setdefault((outcome.file, trap), ([], message))[0].append(outcome.name)
    return gathered


def _within(root: Path, file: str) -> str:
    return str(Path(file).relative_to(root)) if Path(file).is_relative_to(root) else file


def _print(value: object) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def _refused(error: Exception) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(2)
