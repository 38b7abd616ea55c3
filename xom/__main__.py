"""The command `xom`. Each room brings its own commands; one whose extra is not installed says so when called."""

from __future__ import annotations

import importlib
import sys

import typer

_ROOMS = {
    "gateway": ("gateway.cli", "gateway_app", "gateway", "Run this hamlet's gateway, look at it and at its spool."),
    "profile": ("codec.cli", "profile_app", "gateway", "List, test and try device profiles."),
    "hub": ("hub.cli", "hub_app", "hub", "Serve the hub, migrate its database, load its registry."),
    "sim": ("simulators.cli", "sim_app", "sim", "Simulate a commune without hardware."),
    "bench": ("bench.cli", "bench_app", "gateway,hub,sim", "Measure, each figure beside its limit."),
    "demo": ("xom.demo_cli", "demo_app", "gateway,hub,sim", "The whole system on this machine."),
}


def build(wanted: str | None) -> typer.Typer:
    """Return the command with the room that was asked for; the others stay unimported, a line in the help."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Xóm: field monitoring for rural communes.",
    )
    for name, (module, attribute, extra, summary) in _ROOMS.items():
        room = _load(module, attribute, extra) if name == wanted else typer.Typer()
        app.add_typer(room, name=name, help=summary)
        if name != wanted:
            room.callback(invoke_without_command=True)(_nothing)
    return app


def _nothing() -> None:
    """Stand in for a room that was not asked for."""


def _load(module: str, attribute: str, extra: str) -> typer.Typer:
    try:
        room = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        typer.echo(f"xom: {error}; install it with: pip install 'xom[{extra}]'", err=True)
        raise SystemExit(2) from error
    if not isinstance(room, typer.Typer):
        raise TypeError(f"{module}.{attribute} is not a typer application")
    return room


def main() -> None:
    """Run the command."""
    wanted = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    build(wanted)()


if __name__ == "__main__":
    main()
