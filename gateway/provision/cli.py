"""`xom gateway provision LIST`: everything that ChirpStack must know of the sensors, from one list."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from codec.errors import ProfileError
from codec.profiles import ProfileLibrary
from gateway.config import Config, Device, device_list_path, read
from gateway.provision.devices_file import DevicesFileError, is_private, read_devices
from gateway.provision.network import PlanError, PlannedDevice, plan
from gateway.provision.provisioning import ApiError, Done, Outcome, Report, Server, provision
from wire.configuration import ConfigError

USAGE_ERROR = 2
_HEADLINE = "# Written by `xom gateway provision`; the gateway reads it at its start.\n"
TOKEN_VARIABLE = "XOM_CHIRPSTACK_TOKEN"  # noqa: S105 - a variable's name


def provision_command(
    devices: Annotated[
        Path,
        typer.Argument(metavar="LIST", help="CSV or TOML: dev_eui, join_eui, app_key, model, name, place, …"),
    ],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The gateway's TOML file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs; never a key.")] = False,
) -> None:
    """Create tenant, application, device profiles, devices and keys on ChirpStack. May be run again at any time.

    Exit 1 when a device could not be provisioned, 2 when the list or the configuration cannot be used.
    """
    try:
        settings = read(config)
        wanted = read_devices(devices)
        planned = plan(wanted, ProfileLibrary(settings.codecs.library), settings.provisioning.region)
        server = _server(settings)
    except (ConfigError, DevicesFileError, PlanError, ProfileError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(USAGE_ERROR) from error
    if not is_private(devices):
        typer.echo(f"warning: others may read {devices}, which holds keys: chmod 600 {devices}", err=True)
    report = _run(settings, server, planned, dry=dry_run, quiet=as_json)
    if not dry_run:
        _remember(settings, planned, report)
    if as_json:
        typer.echo(json.dumps(_described(report, dry=dry_run), ensure_ascii=False))
    else:
        _close(report, settings, dry=dry_run)
    if report.failed:
        raise typer.Exit(1)


def _server(settings: Config) -> Server:
    """Read the API key: its file must be its owner's alone. Raises ConfigError."""
    section = settings.provisioning
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        if section.token_file is None:
            raise ConfigError(
                f"provisioning.token_file is not set, nor is {TOKEN_VARIABLE}: ChirpStack's API key is needed"
            )
        if not section.token_file.is_file():
            raise ConfigError(f"provisioning.token_file: there is no file {section.token_file}")
        if not is_private(section.token_file):
            raise ConfigError(f"{section.token_file} can be read by others: chmod 600 {section.token_file}")
        token = section.token_file.read_text(encoding="utf-8").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError("the API key is empty, or holds signs that no key has")
    return Server(address=section.server, token=token, tls=section.tls, tls_ca=section.tls_ca)


def _run(settings: Config, server: Server, planned: Sequence[PlannedDevice], *, dry: bool, quiet: bool) -> Report:
    # Imported here: grpc is slow to load, and every other command would wait for it.
    from gateway.provision.chirpstack import ChirpStackApi

    total, seen = len(planned), 0

    def tell(outcome: Outcome) -> None:
        nonlocal seen
        seen += outcome.kind == "device"
        if not quiet:
            place = f"[{seen}/{total}] " if outcome.kind == "device" else ""
            typer.echo(f"{place}{outcome.kind} {outcome.name}: {_words(outcome)}", err=bool(outcome.problem))

    section = settings.provisioning
    try:
        with ChirpStackApi(server, dry=dry) as api:
            return provision(api, planned, tenant=section.tenant, application=section.application, tell=tell)
    except ApiError as error:
        typer.echo(f"{error}\nWhat was done stays; run the same command again.", err=True)
        raise typer.Exit(1) from error


def _words(outcome: Outcome) -> str:
    if outcome.problem:
        return outcome.problem
    keys = {
        None: ", keys left as they are",
        Done.CREATED: ", keys set",
        Done.CHANGED: ", KEYS CHANGED: switch the device off and on, so that it joins anew",
        Done.UNCHANGED: "",
    }
    return f"{outcome.done}{keys[outcome.keys] if outcome.kind == 'device' else ''}"


def _remember(settings: Config, planned: Sequence[PlannedDevice], report: Report) -> None:
    """Leave the list without its keys where the gateway reads it at its next start."""
    failed = {outcome.name for outcome in report.failed}
    here = {
        device.dev_eui: Device(
            dev_eui=device.dev_eui,
            profile=device.wanted.model,
            name=device.wanted.name,
            interval_s=device.wanted.interval_s,
            map=device.wanted.map,
        )
        for device in planned
        if str(device.dev_eui) not in failed
    }
    path = device_list_path(settings)
    known = {device.dev_eui: device for device in settings.provisioned}
    text = "".join(_table(device) for device in (known | here).values())
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(
        "# Written by `xom gateway provision`; the gateway reads it at its start.\n" + text, encoding="utf-8"
    )
    fresh.replace(path)


def _table(device: Device) -> str:
    fields = {"dev_eui": str(device.dev_eui), "profile": device.profile, "name": device.name}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    if device.map:
        lines.append(f"map = {json.dumps(device.map, ensure_ascii=False)}")
    if device.interval_s is not None:
        lines.append(f"interval_s = {float(device.interval_s)}")
    return "\n[[device]]\n" + "\n".join(lines) + "\n"


def _described(report: Report, *, dry: bool) -> dict[str, object]:
    return {
        "dry_run": dry,
        **{str(done): report.count(done) for done in Done},
        "failed": len(report.failed),
        "outcomes": [
            {name: getattr(outcome, name) for name in ("kind", "name", "id", "done", "keys", "problem")}
            for outcome in report.outcomes
        ],
    }


def _close(report: Report, settings: Config, *, dry: bool) -> None:
    counts = ", ".join(f"{report.count(done)} {done}" for done in Done)
    typer.echo(f"{'would be: ' if dry else ''}{counts}, {len(report.failed)} failed")
    if not dry and len(report.failed) < len(report.outcomes):
        typer.echo(f"The gateway knows them from its next start on: {device_list_path(settings)}")
