"""The gateway's configuration: frozen sections, read once in `__main__`. `samples/gateway.toml` explains every key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from gateway.probes.cameras.settings import Camera
from gateway.probes.loudspeakers.settings import Loudspeaker
from gateway.probes.machine.settings import Machine
from gateway.probes.network.settings import Internet, Modem, Wifi
from gateway.probes.serial.settings import SerialBus
from gateway.spool.room import Room
from wire.configuration import ConfigError, load
from wire.identity import DevEui, GatewayId
from wire.keys import Algorithm, KeyProblem, PublicKey
from wire.mqtt import Broker

PREFIX = "XOM_GATEWAY"


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[gateway]: who we are and where our state lives."""

    id: GatewayId
    data: Path = Path("var/gateway")
    algorithm: Algorithm = Algorithm.ED25519


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker: [hub] and [chirpstack] share these keys."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def broker(self) -> Broker:
        """Return it as the transport wants it."""
        return Broker(**{name: getattr(self, name) for name in Broker.__slots__})


class Hub(Mqtt, frozen=True, forbid_unknown_fields=True):
    """[hub]: the broker that leads to the hub, and the key whose acknowledgements free readings."""

    public_key: str = ""
    algorithm: Algorithm = Algorithm.ED25519
    window: int = 64
    resend_s: float = 30.0
    keep_alive_s: int = 40

    def verifier_key(self) -> PublicKey:
        """Return the hub's key; raises ConfigError when there is none to believe."""
        try:
            key = PublicKey(self.algorithm, bytes.fromhex(self.public_key))
            key.verifier()
        except (ValueError, KeyProblem) as error:
            raise ConfigError(
                f"hub.public_key is not a key in hex ({error}); `xom hub key` on the hub prints it"
            ) from error
        return key


class ChirpStack(Mqtt, frozen=True, forbid_unknown_fields=True):
    """[chirpstack]: the local broker that ChirpStack and the forwarders publish to; 0 s turns a report off."""

    enabled: bool = True
    application: str = "+"
    largest_event_bytes: int = 65_536
    radio_report_s: float = 3600.0
    concentrator_report_s: float = 300.0


class Codecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[codecs]: the limit of one frame's decoding, and a library of device profiles in place of the built-in one."""

    cpu_ms: int = 100
    library: Path | None = None


class Sealing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[seal]: when readings become a batch."""

    every_s: float = 60.0
    idle_s: float = 300.0
    most_readings: int = 200
    unsynchronised_s: float = 60.0


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[retention]: how long acknowledged batches are kept, so that a restored hub can be refilled."""

    days: float = 90.0
    megabytes: int = 2048


class SpoolLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[spool]: how large it may grow, and how much of that only alarms may use."""

    megabytes: int = 4096
    reserve: int = 64

    def room(self) -> Room:
        """Return it as the spool wants it; raises ConfigError."""
        if not 0 < self.reserve < self.megabytes:
            raise ConfigError("spool.reserve must lie between 0 and spool.megabytes")
        return Room(cap=self.megabytes * 1_000_000, reserve=self.reserve * 1_000_000)


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[device]]: one LoRaWAN sensor: which profile decodes it, how often it should be heard.

    `map` says what a bridge's bytes or channels mean: a path to a file, or the name of one in the library's `maps/`.
    """

    dev_eui: DevEui
    profile: str
    name: str = ""
    interval_s: float | None = None
    map: str = ""


class Provisioning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[provisioning]: ChirpStack's API, and what `xom gateway provision` creates there."""

    server: str = "127.0.0.1:8080"
    token_file: Path | None = None
    tls: bool = False
    tls_ca: Path | None = None
    tenant: str = "xom"
    application: str = "xom"
    region: str = "AS923-2"


class Probing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[probes]: what all probes share. `credentials` is a TOML file of mode 0600 (gateway.probes.credentials)."""

    credentials: Path | None = None
    concurrency: int = 32


class _DeviceList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<gateway.data>/devices.toml`, as provisioning leaves it."""

    device: list[Device] = []


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    gateway: Identity
    hub: Hub
    chirpstack: ChirpStack = ChirpStack()
    codecs: Codecs = Codecs()
    seal: Sealing = Sealing()
    retention: Retention = Retention()
    spool: SpoolLimits = SpoolLimits()
    provisioning: Provisioning = Provisioning()
    device: list[Device] = []
    probes: Probing = Probing()
    machine: Machine = Machine()
    internet: Internet = Internet()
    modem: list[Modem] = []
    wifi: list[Wifi] = []
    loudspeaker: list[Loudspeaker] = []
    camera: list[Camera] = []
    serial_bus: list[SerialBus] = []

    @property
    def provisioned(self) -> list[Device]:
        """The devices that `xom gateway provision` has left for us; raises ConfigError."""
        path = device_list_path(self)
        return load(_DeviceList, path, f"{PREFIX}_DEVICES", {}).device if path.exists() else []

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of what is in force: batches say which configuration made them."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def device_list_path(config: Config) -> Path:
    """Where provisioning leaves the devices, without their keys."""
    return config.gateway.data / "devices.toml"


def read(path: Path | None) -> Config:
    """Read file and environment, and the provisioned devices; a [[device]] of the file itself comes first.

    Raises ConfigError.
    """
    config = load(Config, path, PREFIX)
    seen: set[DevEui] = set()
    for device in config.device:
        if device.dev_eui in seen:
            raise ConfigError(f"{path}: device {device.dev_eui} stands there twice")
        seen.add(device.dev_eui)
    provisioned = [device for device in config.provisioned if device.dev_eui not in seen]
    return msgspec.structs.replace(config, device=[*config.device, *provisioned])
