"""Names of things that travel: gateways, sources, spool epochs, LoRaWAN devices.

Each is a `str` that has been checked once, at the edge; inside the house nobody checks again.
"""

from __future__ import annotations

import re
import secrets
from typing import ClassVar, Self


class IdentityError(ValueError):
    """A name that does not have the form its type requires."""


class _Checked(str):
    """A string of a fixed form. `parse` refuses anything else, naming the form."""

    __slots__ = ()
    _form: ClassVar[re.Pattern[str]]
    _meaning: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checked name; raises IdentityError, which quotes the text and states the form."""
        if not cls._form.fullmatch(text):
            raise IdentityError(f"{text!r:.80} is not {cls._meaning}")
        return cls(text)

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Whether the text has the form, exactly as it stands."""
        return cls._form.fullmatch(text) is not None


class GatewayId(_Checked):
    """One gateway: its name in topics, certificates and the registry."""

    __slots__ = ()
    # No dot and no slash: RabbitMQ translates dots in topics, MQTT splits levels at slashes.
    _form = re.compile(r"[a-z0-9][a-z0-9-]{1,39}")
    _meaning = "a gateway id: 2 to 40 of a-z, 0-9 and '-', not starting with '-'"


class SourceId(_Checked):
    """One source of readings on a gateway, stable for life: `lorawan:<DevEUI>`, later `camera:<name>`."""

    __slots__ = ()
    _form = re.compile(r"[a-z0-9]+:[a-z0-9][a-z0-9._-]{0,62}")
    _meaning = "a source id: kind, colon, name (a-z, 0-9, '.', '_', '-')"

    @property
    def dev_eui(self) -> DevEui | None:
        """The LoRaWAN device that this source is, if it is one."""
        kind, _, name = self.partition(":")
        return DevEui(name) if kind == "lorawan" and DevEui.is_valid(name) else None


class DevEui(_Checked):
    """LoRaWAN device identifier: 8 bytes as sixteen lower-case hex digits (LoRaWAN 1.0.4, 6.1.1.2)."""

    __slots__ = ()
    _form = re.compile(r"[0-9a-f]{16}")
    _meaning = "a DevEUI: sixteen hex digits"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Accept either case; labels on devices print capitals."""
        return super().parse(text.lower())

    @property
    def source(self) -> SourceId:
        """The source that this device is."""
        return SourceId(f"lorawan:{self}")


class Epoch(_Checked):
    """The life of one spool: random, made when the spool is made, so a lost disk never reuses a sequence."""

    __slots__ = ()
    _form = re.compile(r"[0-9a-f]{16}")
    _meaning = "an epoch: sixteen hex digits"

    @classmethod
    def new(cls) -> Self:
        """Draw a fresh epoch (64 random bits)."""
        return cls(secrets.token_hex(8))


def to_plain(value: object) -> str:
    """Write a checked name where msgspec asks how (`enc_hook`): as the text that it is."""
    if isinstance(value, _Checked):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def from_plain(kind: type, value: object) -> object:
    """Read a checked name where msgspec asks how (`dec_hook`); raises IdentityError."""
    if issubclass(kind, _Checked):
        if not isinstance(value, str):
            raise IdentityError(f"{value!r:.80} is not {kind._meaning}")
        return kind.parse(value)
    raise NotImplementedError(f"{kind.__name__} does not travel")
