"""One run: tenant, application, profiles, devices, keys, in that order; one device's trouble is not the next one's."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.provision.network import Keys, PlannedDevice, WantedProfile


class Done(enum.StrEnum):
    """What became of one thing."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class ApiError(Exception):
    """Theirs: ChirpStack refused, or is not there. Says what to do. `fatal`: nothing else will work either."""

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where ChirpStack's API listens, and the API key that opens it."""

    address: str  # host:port, usually port 8080
    token: str = field(repr=False)
    tls_ca: Path | None = None
    tls: bool = False


class NetworkServer(Protocol):
    """What a run needs of a network server: ChirpStack over gRPC, or a stand-in."""

    def tenant(self, name: str) -> tuple[str, Done]:
        """Return the tenant's id."""
        ...

    def application(self, tenant_id: str, name: str) -> tuple[str, Done]:
        """Return the application's id."""
        ...

    def profile(self, tenant_id: str, wanted: WantedProfile) -> tuple[str, Done]:
        """Return the device profile's id."""
        ...

    def device(self, application_id: str, profile_id: str, planned: PlannedDevice) -> Done:
        """Make or change a device."""
        ...

    def keys(self, dev_eui: str, keys: Keys) -> Done:
        """Give a device its root keys."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one thing. `problem` "" when it went well; `keys` is what became of the keys, never the keys."""

    kind: str  # tenant, application, profile, device
    name: str
    id: str = ""
    done: Done | None = None
    keys: Done | None = None
    problem: str = ""


@dataclass(slots=True)
class Report:
    """A whole run, in its order."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """What did not go well."""
        return [outcome for outcome in self.outcomes if outcome.problem]

    def count(self, done: Done) -> int:
        """How many things ended so."""
        return sum(outcome.done is done for outcome in self.outcomes)


def provision(
    server: NetworkServer,
    devices: Sequence[PlannedDevice],
    *,
    tenant: str,
    application: str,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Report:
    """Provision everything and report each step as it happens; raises ApiError where nothing further can work."""
    report = Report()

    def note(outcome: Outcome) -> None:
        report.outcomes.append(outcome)
        tell(outcome)

    tenant_id, done = server.tenant(tenant)
    note(Outcome(kind="tenant", name=tenant, id=tenant_id, done=done))
    application_id, done = server.application(tenant_id, application)
    note(Outcome(kind="application", name=application, id=application_id, done=done))
    profiles: dict[str, str | None] = {}
    for device in devices:
        name = device.profile.name
        if name not in profiles:
            outcome = _profile(server, tenant_id, device.profile)
            profiles[name] = None if outcome.problem else outcome.id
            note(outcome)
        profile_id = profiles[name]
        if profile_id is None:
            note(Outcome(kind="device", name=str(device.dev_eui), problem=f"its profile {name} could not be made"))
        else:
            note(_device(server, application_id, profile_id, device))
    return report


def _profile(server: NetworkServer, tenant_id: str, wanted: WantedProfile) -> Outcome:
    try:
        profile_id, done = server.profile(tenant_id, wanted)
    except ApiError as error:
        return _failed("profile", wanted.name, error)
    return Outcome(kind="profile", name=wanted.name, id=profile_id, done=done)


def _device(server: NetworkServer, application_id: str, profile_id: str, device: PlannedDevice) -> Outcome:
    name = str(device.dev_eui)
    try:
        done = server.device(application_id, profile_id, device)
        keys = server.keys(name, device.keys) if device.keys is not None else None
    except ApiError as error:
        return _failed("device", name, error)
    return Outcome(kind="device", name=name, id=name, done=done, keys=keys)


def _failed(kind: str, name: str, error: ApiError) -> Outcome:
    if error.fatal:
        raise error
    return Outcome(kind=kind, name=name, problem=str(error))
