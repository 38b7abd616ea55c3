"""`xom bench …`: every performance claim, each figure beside the limit measured in the same run."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import structlog
import typer

from bench.gateway_process import GatewayError
from bench.mosquitto import NoBrokerError
from bench.report import Report

# A bench is a module with `Sizes` (a struct, defaults are the real size) and `measure(sizes) -> Report`.
BENCHES = {
    "ingest": ("bench.ingest", "Broker to COMMIT in a real hub, against raw COPY of the same rows."),
    "gateway": ("bench.gateway", "ChirpStack events to durable readings, memory, latency of an alarm."),
    "codec": ("bench.codec", "Decoding frames: through the worker, the engine alone, a fresh runtime each."),
    "wire": ("bench.wire", "Bytes and time per reading of a sealed batch, against other layouts."),
    "drain": ("bench.drain", "A long outage's backlog to a real hub while live readings come: rate, memory, latency."),
    "probes": ("bench.probes", "Probes of mixed kinds, some dead, in one process: lateness, memory."),
}

bench_app = typer.Typer(no_args_is_help=True, help="Measure, each figure beside its limit.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]
Size = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=JSON", help="Another size, such as --set rounds=1 or --set floods=[1000]."),
]
Readings = Annotated[list[int] | None, typer.Option("--readings", help="How many wait; may be given more than once.")]


def measure(name: str, changes: dict[str, Any] | None = None) -> Report:
    """Run one bench, with some sizes changed; raises msgspec.ValidationError for a size that it does not have."""
    module = importlib.import_module(BENCHES[name][0])
    sizes = msgspec.convert(changes or {}, module.Sizes)
    report = module.measure(sizes)
    if not isinstance(report, Report):
        raise TypeError(f"{module.__name__}.measure gave no Report")
    return report


def _command(name: str) -> Callable[..., None]:
    def run(as_json: AsJson = False, sizes: Size = None) -> None:
        _run(name, _changes(sizes or []), as_json)

    return run


def _drain(readings: Readings = None, as_json: AsJson = False, sizes: Size = None) -> None:
    _run("drain", _changes(sizes or []) | ({"readings": readings} if readings else {}), as_json)


def _run(name: str, changes: dict[str, Any], as_json: bool) -> None:
    # Standard output is the report's; what our own ends of the line say is of interest when it is bad.
    level = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=level, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        report = measure(name, changes)
    except (NoBrokerError, GatewayError, TimeoutError, msgspec.MsgspecError) as error:
        typer.echo(f"xom bench {name}: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(msgspec.json.encode(report.to_object()).decode() if as_json else "\n".join(report.lines()))


def _changes(sizes: list[str]) -> dict[str, Any]:
    pairs = (text.partition("=") for text in sizes)
    return {name: msgspec.json.decode(value) for name, _, value in pairs}


for _name, (_, _summary) in BENCHES.items():
    bench_app.command(_name, help=_summary)(_drain if _name == "drain" else _command(_name))


if __name__ == "__main__":
    bench_app()
