"""A stand-in for ChirpStack's API, built on the servicer classes of `chirpstack-api`: what provisioning talks to here.

In memory, with ChirpStack's manners where a client can stumble: a List with limit 0 returns the count alone, search
finds parts of names, a missing thing is NOT_FOUND, a wrong API key is UNAUTHENTICATED, and a LoRaWAN 1.0 device joins
with its `nwk_key`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from chirpstack_api.api import (
    application_pb2,
    application_pb2_grpc,
    device_pb2,
    device_pb2_grpc,
    device_profile_pb2,
    device_profile_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from google.protobuf import empty_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

_THREADS = 4
Empty: Any = empty_pb2.Empty  # type: ignore[attr-defined] # made at import, which its types do not show


@dataclass(slots=True, kw_only=True)
class Network:
    """What the server holds, by id, and what it was asked (method names in order)."""

    token: str
    tenants: dict[str, Any] = field(default_factory=dict)
    applications: dict[str, Any] = field(default_factory=dict)
    profiles: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    @property
    def writes(self) -> list[str]:
        """The calls that changed something."""
        return [call for call in self.calls if not call.split("/")[-1].startswith(("Get", "List"))]

    def join_key(self, dev_eui: str) -> str:
        """The key that a LoRaWAN 1.0 device's join is checked with."""
        return str(self.keys[dev_eui].nwk_key)


@contextmanager
def serving(network: Network, port: int = 0) -> Iterator[int]:
    """Serve on loopback and yield the port."""
    server: Any = grpc.server(ThreadPoolExecutor(_THREADS), interceptors=[_Door(network)])
    tenant_pb2_grpc.add_TenantServiceServicer_to_server(_Tenants(network), server)
    application_pb2_grpc.add_ApplicationServiceServicer_to_server(_Applications(network), server)
    device_profile_pb2_grpc.add_DeviceProfileServiceServicer_to_server(_Profiles(network), server)
    device_pb2_grpc.add_DeviceServiceServicer_to_server(_Devices(network), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield int(bound)
    finally:
        server.stop(grace=None).wait()


class _Door(grpc.ServerInterceptor):
    """Notes every call, and lets in who has the API key."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Refuse a call without the right bearer."""
        self._network.calls.append(details.method)
        if ("authorization", f"Bearer {self._network.token}") in details.invocation_metadata:
            return continuation(details)
        return grpc.unary_unary_rpc_method_handler(_unauthenticated)


def _unauthenticated(_: Any, context: Any) -> Any:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid token")


def _page(items: list[Any], request: Any, listed: Callable[[Any], Any]) -> dict[str, Any]:
    """Answer a List: the whole count, and a page of it."""
    found = [item for item in items if request.search.lower() in item.name.lower()]
    page = found[request.offset : request.offset + request.limit]
    return {"total_count": len(found), "result": [listed(item) for item in page]}


def _get(things: dict[str, Any], key: str, context: Any) -> Any:
    if key not in things:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Object does not exist (id: {key})")
    return things[key]


def _new(things: dict[str, Any], thing: Any) -> str:
    thing.id = str(uuid.uuid4())
    things[thing.id] = thing
    return str(thing.id)


class _Tenants(tenant_pb2_grpc.TenantServiceServicer):
    def __init__(self, network: Network) -> None:
        self._network = network

    def List(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's names
        items = list(self._network.tenants.values())
        page = _page(items, request, lambda one: tenant_pb2.TenantListItem(id=one.id, name=one.name))
        return tenant_pb2.ListTenantsResponse(**page)

    def Create(self, request: Any, _: Any) -> Any:  # noqa: N802
        return tenant_pb2.CreateTenantResponse(id=_new(self._network.tenants, request.tenant))


class _Applications(application_pb2_grpc.ApplicationServiceServicer):
    def __init__(self, network: Network) -> None:
        self._network = network

    def List(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's names
        items = [one for one in self._network.applications.values() if one.tenant_id == request.tenant_id]
        page = _page(items, request, lambda one: application_pb2.ApplicationListItem(id=one.id, name=one.name))
        return application_pb2.ListApplicationsResponse(**page)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        _get(self._network.tenants, request.application.tenant_id, context)
        return application_pb2.CreateApplicationResponse(id=_new(self._network.applications, request.application))


class _Profiles(device_profile_pb2_grpc.DeviceProfileServiceServicer):
    def __init__(self, network: Network) -> None:
        self._network = network

    def List(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's names
        items = [one for one in self._network.profiles.values() if one.tenant_id == request.tenant_id]
        page = _page(items, request, lambda one: device_profile_pb2.DeviceProfileListItem(id=one.id, name=one.name))
        return device_profile_pb2.ListDeviceProfilesResponse(**page)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        _get(self._network.tenants, request.device_profile.tenant_id, context)
        return device_profile_pb2.CreateDeviceProfileResponse(id=_new(self._network.profiles, request.device_profile))

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        profile = _get(self._network.profiles, request.id, context)
        return device_profile_pb2.GetDeviceProfileResponse(device_profile=profile)

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        _get(self._network.profiles, request.device_profile.id, context)
        self._network.profiles[request.device_profile.id] = request.device_profile
        return Empty()


class _Devices(device_pb2_grpc.DeviceServiceServicer):
    def __init__(self, network: Network) -> None:
        self._network = network

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        return device_pb2.GetDeviceResponse(device=_get(self._network.devices, request.dev_eui, context))

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        device = request.device
        if device.dev_eui in self._network.devices:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "Object already exists")
        return self._keep(device, context)

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        _get(self._network.devices, request.device.dev_eui, context)
        return self._keep(request.device, context)

    def _keep(self, device: Any, context: Any) -> Any:
        _get(self._network.applications, device.application_id, context)
        _get(self._network.profiles, device.device_profile_id, context)
        self._network.devices[device.dev_eui] = device
        return Empty()

    def GetKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        return device_pb2.GetDeviceKeysResponse(device_keys=_get(self._network.keys, request.dev_eui, context))

    def CreateKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.device_keys.dev_eui in self._network.keys:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "Object already exists")
        return self._keep_keys(request.device_keys, context)

    def UpdateKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        _get(self._network.keys, request.device_keys.dev_eui, context)
        return self._keep_keys(request.device_keys, context)

    def _keep_keys(self, keys: Any, context: Any) -> Any:
        _get(self._network.devices, keys.dev_eui, context)
        if not keys.app_key:
            keys.app_key = "0" * 32  # as ChirpStack gives an absent one back
        self._network.keys[keys.dev_eui] = keys
        return Empty()
