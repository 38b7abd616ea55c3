"""ChirpStack's API over gRPC: looks before it makes, changes only what differs, and tells what it did.

Tags, variables and settings that are not ours stay. Keys go into the two calls that take them and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

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
from chirpstack_api.common import common_pb2

from codec.radio import RadioProfile
from gateway.provision.network import Keys, PlannedDevice, WantedProfile
from gateway.provision.provisioning import ApiError, Done, Server

_DEADLINE_S: Final = 15.0
_PAGE: Final = 100  # a List with limit 0 returns the count alone (lorawan.md section 2)
_STATUS_A_DAY: Final = 1  # DevStatusReq: battery and link margin


class ChirpStackApi:
    """One connection. `dry` looks and says what it would do."""

    def __init__(self, server: Server, *, dry: bool = False) -> None:
        self._server = server
        self._dry = dry
        self._channel: Any = None

    def __enter__(self) -> Self:
        self._channel = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _open(self) -> Any:
        if not (self._server.tls or self._server.tls_ca):
            return grpc.insecure_channel(self._server.address)
        roots = self._server.tls_ca.read_bytes() if self._server.tls_ca else None
        return grpc.secure_channel(self._server.address, grpc.ssl_channel_credentials(roots))

    # ---- what there shall be

    def tenant(self, name: str) -> tuple[str, Done]:
        """Return the id of the tenant of this name, made where there is none; raises ApiError."""
        service = tenant_pb2_grpc.TenantServiceStub(self._channel)
        found = self._named(service.List, tenant_pb2.ListTenantsRequest(search=name), name)
        if found is not None:
            return found.id, Done.UNCHANGED
        tenant = tenant_pb2.Tenant(name=name, can_have_gateways=True)
        return self._make(service.Create, tenant_pb2.CreateTenantRequest(tenant=tenant)), Done.CREATED

    def application(self, tenant_id: str, name: str) -> tuple[str, Done]:
        """Return the id of the tenant's application of this name, made where there is none; raises ApiError."""
        service = application_pb2_grpc.ApplicationServiceStub(self._channel)
        listing = application_pb2.ListApplicationsRequest(search=name, tenant_id=tenant_id)
        found = self._named(service.List, listing, name) if tenant_id else None
        if found is not None:
            return found.id, Done.UNCHANGED
        application = application_pb2.Application(name=name, tenant_id=tenant_id)
        request = application_pb2.CreateApplicationRequest(application=application)
        return self._make(service.Create, request), Done.CREATED

    def profile(self, tenant_id: str, wanted: WantedProfile) -> tuple[str, Done]:
        """Return the id of our device profile of this name, made or brought up to date; raises ApiError."""
        service = device_profile_pb2_grpc.DeviceProfileServiceStub(self._channel)
        ours = device_profile_pb2.ListDeviceProfilesRequest(search=wanted.name, tenant_id=tenant_id, tenant_only=True)
        listed = self._named(service.List, ours, wanted.name) if tenant_id else None
        if listed is None:
            profile = device_profile_pb2.DeviceProfile(tenant_id=tenant_id, name=wanted.name)
            _fill(profile, wanted)
            request = device_profile_pb2.CreateDeviceProfileRequest(device_profile=profile)
            return self._make(service.Create, request), Done.CREATED
        profile = self._ask(service.Get, device_profile_pb2.GetDeviceProfileRequest(id=listed.id)).device_profile
        before = profile.SerializeToString(deterministic=True)
        _fill(profile, wanted)
        if profile.SerializeToString(deterministic=True) == before:
            return listed.id, Done.UNCHANGED
        self._change(service.Update, device_profile_pb2.UpdateDeviceProfileRequest(device_profile=profile))
        return listed.id, Done.CHANGED

    def device(self, application_id: str, profile_id: str, planned: PlannedDevice) -> Done:
        """Make a device, or bring what is ours of it up to date; raises ApiError."""
        service = device_pb2_grpc.DeviceServiceStub(self._channel)
        found = self._find(service.Get, device_pb2.GetDeviceRequest(dev_eui=planned.dev_eui))
        if found is None:
            device = device_pb2.Device(dev_eui=planned.dev_eui, application_id=application_id)
            _fill_device(device, profile_id, planned)
            self._change(service.Create, device_pb2.CreateDeviceRequest(device=device))
            return Done.CREATED
        device = found.device
        if device.application_id != application_id:
            raise ApiError(
                f"it is in another application ({device.application_id}): delete it there, or provision that one"
            )
        before = device.SerializeToString(deterministic=True)
        _fill_device(device, profile_id, planned)
        if device.SerializeToString(deterministic=True) == before:
            return Done.UNCHANGED
        self._change(service.Update, device_pb2.UpdateDeviceRequest(device=device))
        return Done.CHANGED

    def keys(self, dev_eui: str, keys: Keys) -> Done:
        """Give a device its root keys; CHANGED means that it has to join anew. Raises ApiError."""
        service = device_pb2_grpc.DeviceServiceStub(self._channel)
        wanted = device_pb2.DeviceKeys(
            dev_eui=dev_eui, nwk_key=keys.nwk_key.hex, app_key=keys.app_key.hex if keys.app_key else ""
        )
        found = self._find(service.GetKeys, device_pb2.GetDeviceKeysRequest(dev_eui=dev_eui))
        if found is None:
            self._change(service.CreateKeys, device_pb2.CreateDeviceKeysRequest(device_keys=wanted))
            return Done.CREATED
        there = found.device_keys
        if (there.nwk_key, _key_or_none(there.app_key)) == (wanted.nwk_key, _key_or_none(wanted.app_key)):
            return Done.UNCHANGED
        wanted.gen_app_key = there.gen_app_key
        self._change(service.UpdateKeys, device_pb2.UpdateDeviceKeysRequest(device_keys=wanted))
        return Done.CHANGED

    # ---- calls

    def _named(self, call: Callable[..., Any], request: Any, name: str) -> Any | None:
        """Return the listed thing of exactly this name: ChirpStack's search finds parts of names too."""
        return next((item for item in self._pages(call, request) if item.name == name), None)

    def _pages(self, call: Callable[..., Any], request: Any) -> Iterator[Any]:
        request.limit, request.offset = _PAGE, 0
        while True:
            page = self._ask(call, request).result
            yield from page
            if len(page) < _PAGE:
                return
            request.offset += _PAGE

    def _find(self, call: Callable[..., Any], request: Any) -> Any | None:
        try:
            return self._call(call, request)
        except grpc.RpcError as error:
            if _code(error) is grpc.StatusCode.NOT_FOUND:
                return None
            raise _explained(error, self._server) from None

    def _ask(self, call: Callable[..., Any], request: Any) -> Any:
        try:
            return self._call(call, request)
        except grpc.RpcError as error:
            # `from None`: a trace of the call would show its request, and with it a key.
            raise _explained(error, self._server) from None

    def _make(self, call: Callable[..., Any], request: Any) -> str:
        return "" if self._dry else str(self._ask(call, request).id)

    def _change(self, call: Callable[..., Any], request: Any) -> None:
        if not self._dry:
            self._ask(call, request)

    def _call(self, call: Callable[..., Any], request: Any) -> Any:
        metadata = (("authorization", f"Bearer {self._server.token}"),)
        return call(request, metadata=metadata, timeout=_DEADLINE_S)


def _code(error: Any) -> Any:
    """Return the status of a failed call: a Call too, which the type of the exception does not say."""
    return error.code()


def _key_or_none(key: str) -> str:
    """ChirpStack gives an absent key back as zeros."""
    return "" if set(key) <= {"0"} else key.lower()


def _fill(profile: Any, wanted: WantedProfile) -> None:
    """Write what is ours into a device profile."""
    radio = wanted.radio
    profile.name = wanted.name
    profile.region = _number("Region", radio.region)
    profile.mac_version = _number("MacVersion", f"LORAWAN-{radio.mac_version}")
    profile.reg_params_revision = _number("RegParamsRevision", radio.reg_params_revision)
    profile.adr_algorithm_id = profile.adr_algorithm_id or "default"
    profile.payload_codec_runtime = device_profile_pb2.JS if wanted.source.script else device_profile_pb2.NONE
    profile.payload_codec_script = wanted.source.script or ""
    # Not the importer's hour and day for everything: the device's own interval.
    profile.uplink_interval = wanted.source.interval_s
    profile.device_status_req_interval = profile.device_status_req_interval or _STATUS_A_DAY
    profile.flush_queue_on_activate = True
    profile.supports_otaa = radio.supports_otaa
    _fill_classes(profile, radio)
    _merge(profile.tags, wanted.tags)


def _fill_classes(profile: Any, radio: RadioProfile) -> None:
    profile.supports_class_b, profile.supports_class_c = radio.supports_class_b, radio.supports_class_c
    if radio.supports_class_b:
        profile.class_b_timeout = radio.class_b.timeout_secs
        profile.class_b_ping_slot_periodicity = radio.class_b.ping_slot_periodicity
        profile.class_b_ping_slot_dr = radio.class_b.ping_slot_dr
        profile.class_b_ping_slot_freq = radio.class_b.ping_slot_freq
    if radio.supports_class_c:
        profile.class_c_timeout = radio.class_c.timeout_secs


def _fill_device(device: Any, profile_id: str, planned: PlannedDevice) -> None:
    """Write what is ours into a device."""
    device.name = planned.wanted.title
    device.device_profile_id = profile_id
    device.join_eui = planned.wanted.join_eui
    device.skip_fcnt_check = False  # a repeated counter is a replay, and gaps are counted by it
    _merge(device.tags, planned.tags)


def _merge(tags: Any, ours: Mapping[str, str]) -> None:
    for name, value in ours.items():
        tags[name] = value


def _number(enum: str, name: str) -> int:
    """Return an enum's number by the tree's spelling: AS923-2, RP002-1.0.3."""
    spelled = name.upper().replace("-", "_").replace(".", "_")
    return int(common_pb2.DESCRIPTOR.enum_types_by_name[enum].values_by_name[spelled].number)


def _explained(error: Any, server: Server) -> ApiError:
    """Say what a failed call means to an installer. The details are ChirpStack's words; a request is never quoted."""
    code, details = error.code(), str(error.details())[:200]
    for known, (meaning, fatal) in _MEANINGS.items():
        if code is known:
            return ApiError(meaning.format(address=server.address, details=details), fatal=fatal)
    return ApiError(f"ChirpStack refused: {code.name.lower()}: {details}")


_MEANINGS: Final = {
    grpc.StatusCode.UNAVAILABLE: (
        "no ChirpStack API at {address}: {details}. Is it running, and is this its address? (provisioning.server)",
        True,
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        "ChirpStack does not accept the API key ({details}); make a new one: "
        "chirpstack -c <its configuration> create-api-key --name xom",
        True,
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        "the API key may not do this ({details}); a tenant's key cannot make tenants: use a global one",
        True,
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (f"ChirpStack at {{address}} did not answer within {_DEADLINE_S:.0f} s", False),
}
