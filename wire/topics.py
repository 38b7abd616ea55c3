"""MQTT topics, built and parsed in this one place: `xom/v1/gw/<gateway>/<direction>/<subject>`.

No dots anywhere (RabbitMQ translates them), few levels, the gateway at a fixed one so that an ACL pattern can name it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wire.identity import GatewayId, IdentityError

_ROOT = "xom/v1/gw"
_LEVELS = 6


class Subject(enum.StrEnum):
    """What a message is about; the direction is part of it."""

    BATCH = "up/batch"
    STATE = "up/state"
    REPLY = "up/reply"
    ACK = "down/ack"
    COMMAND = "down/cmd"


class TopicError(ValueError):
    """A topic that is not ours."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One gateway's one subject."""

    gateway: GatewayId
    subject: Subject

    def __str__(self) -> str:
        return f"{_ROOT}/{self.gateway}/{self.subject}"

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Read a topic as received; raises TopicError quoting it."""
        levels = text.split("/", _LEVELS - 1)
        if len(levels) != _LEVELS or "/".join(levels[:3]) != _ROOT:
            raise TopicError(f"{text!r:.120} is not {_ROOT}/<gateway>/<up|down>/<subject>")
        try:
            return cls(GatewayId.parse(levels[3]), Subject("/".join(levels[4:])))
        except (IdentityError, ValueError) as error:
            raise TopicError(f"{text!r:.120}: {error}") from error


def every_gateway(subject: Subject) -> str:
    """Return the filter that hears one subject of every gateway."""
    return f"{_ROOT}/+/{subject}"
