"""User names and passwords of what is probed: a TOML file that only the gateway may read. They never leave this room.

[camera-cong]           # named by a probe's `credentials = "camera-cong"`
username = "xom"
password = "..."
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.probes.errors import ProbeError
from gateway.probes.outcome import Reason


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One login. `community`, `auth_key`, `privacy_key` are SNMP's. Never printed: its repr shows the name alone."""

    username: str = ""
    password: str = ""
    community: str = ""
    auth_key: str = ""
    privacy_key: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, …)"


class CredentialError(Exception):
    """The file cannot be used: the message says why and what to do."""


class Credentials:
    """The file's logins by name; raises CredentialError when others could read it."""

    def __init__(self, path: Path | None) -> None:
        self._known: Mapping[str, Credential] = _read(path) if path is not None else {}

    def of(self, name: str) -> Credential:
        """Return a login; the empty one for "". Raises ProbeError(CREDENTIALS_MISSING)."""
        if not name:
            return Credential()
        if name not in self._known:
            raise ProbeError(Reason.CREDENTIALS_MISSING, f"[{name}] is not in the credentials file")
        return self._known[name]


def _read(path: Path) -> Mapping[str, Credential]:
    try:
        mode = path.stat().st_mode & 0o077
        if mode:
            raise CredentialError(f"{path} can be read by others (mode {mode:03o} too many): chmod 600 {path}")
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(document, dict[str, Credential])
    except FileNotFoundError:
        raise CredentialError(f"{path}: there is no such file; make it with mode 0600") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        # msgspec names the key and the type, not the value: nothing secret is in the message.
        raise CredentialError(f"{path}: {error}") from error
