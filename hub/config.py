"""The hub's configuration: frozen sections, read once. `samples/hub.toml` explains every key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from wire.configuration import load
from wire.keys import Algorithm
from wire.mqtt import Broker

PREFIX: Final = "XOM_HUB"

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]  # 0: any free one, which only tests and the demo want


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Where the hub keeps what is its own, and the key that it signs with."""

    data: Path = Path("var/hub")
    signing_key: Path | None = None
    algorithm: Algorithm = Algorithm.ED25519

    @property
    def key_path(self) -> Path:
        """Where the signing key lies: in `data` unless it is named."""
        return self.signing_key or self.data / "signing-key.pem"


class DatabaseSection(msgspec.Struct, frozen=True, kw_only=True):
    """Which PostgreSQL: a connection string, or "" for the embedded server under `data`."""

    dsn: str = ""
    pool: Annotated[int, msgspec.Meta(ge=2, le=30)] = 8


class Mqtt(msgspec.Struct, frozen=True, kw_only=True):
    """The broker, and who we are to it. TLS is on when `tls_ca` is given. `embedded`: we start one ourselves."""

    embedded: bool = False
    host: str = "127.0.0.1"
    port: Port = 1883
    client_id: str = "xom-hub"
    username: str = ""
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def broker(self, host: str, port: int) -> Broker:
        """Return how to reach the broker that was found or started at this address."""
        return Broker(
            host=host,
            port=port,
            username=self.username,
            password_file=self.password_file,
            tls_ca=self.tls_ca,
            tls_certificate=self.tls_certificate,
            tls_key=self.tls_key,
        )


class Ingest(msgspec.Struct, frozen=True, kw_only=True):
    """How batches are grouped into commits, and how many may be under way."""

    group: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 64
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    receive_maximum: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1_024


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API and the pages are served."""

    host: str = "127.0.0.1"
    port: Port = 8080


class Incidents(msgspec.Struct, frozen=True, kw_only=True):
    """How much evidence of trouble is kept."""

    cap: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set."""

    hub: Identity = Identity()
    database: DatabaseSection = DatabaseSection()
    mqtt: Mqtt = Mqtt()
    ingest: Ingest = Ingest()
    http: Http = Http()
    incidents: Incidents = Incidents()


def load_config(path: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the file (None: defaults), then `XOM_HUB_<SECTION>_<KEY>`; raises wire.configuration.ConfigError."""
    return load(Config, path, PREFIX, environment)
