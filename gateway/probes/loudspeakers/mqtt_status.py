"""A status topic on a broker: what the cluster last said of itself, with its time.

A retained `online` without a time is worthless: a broker keeps it for years (domain.md 5.3).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from typing import Final

from gateway.clock import Instant
from gateway.probes.credentials import Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.loudspeakers import answer
from gateway.probes.loudspeakers.fetch import MOST_BYTES, Page
from gateway.probes.loudspeakers.finding import FINE, Check, Finding
from gateway.probes.loudspeakers.memory import Memory
from gateway.probes.loudspeakers.settings import MqttStatus
from gateway.probes.outcome import Reason, State

_REFUSED_LOGIN: Final = ("not authorized", "not authorised", "bad user name", "code:134", "code:135", "code:5]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttAdapter:
    """One topic."""

    settings: MqttStatus
    credentials: Credentials
    seen_within_s: float
    sound_within_s: float
    timeout_s: float
    name: str = "mqtt"
    is_asked_directly: bool = False

    @property
    def gives(self) -> frozenset[str]:
        """A heartbeat with its time is reach as well."""
        heartbeat = frozenset({"reach"} if self.settings.last_seen else set())
        return answer.gives(self.settings) | heartbeat

    @property
    def keeps_log(self) -> bool:
        """Whether a play log is named."""
        return bool(self.settings.play_log)

    @property
    def signs(self) -> frozenset[str]:
        """What shows playing."""
        return answer.signs(self.settings)

    async def ask(self, now: Instant, memory: Memory) -> Finding:
        """Wait for the topic's message: the retained one comes at once."""
        _ = memory
        payload = await self._message()
        if payload is None:
            silence = Check(State.UNKNOWN, Reason.STALE, "the broker has no word of it: it may have been restarted")
            return Finding(checks=dict.fromkeys(self.gives, silence))
        found = answer.read(
            Page(200, payload).json(), self.settings, now_ms=now.wall_ms, seen_within_s=self.seen_within_s,
            sound_within_s=self.sound_within_s, is_fresh=False,
        )  # fmt: skip
        link = found.checks.get("link", FINE)
        if "reach" not in self.gives:
            return found
        return replace(found, checks={"reach": link, **found.checks})

    async def _message(self) -> bytes | None:
        import asyncio

        import aiomqtt
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        credential = self.credentials.of(self.settings.credentials)
        bounded = Properties(PacketTypes.CONNECT)
        bounded.MaximumPacketSize = MOST_BYTES  # MQTT 5, 3.1.2.11.4: the broker keeps what is larger to itself
        client = aiomqtt.Client(
            self.settings.host, self.settings.port, username=credential.username or None,
            password=credential.password or None, protocol=aiomqtt.ProtocolVersion.V5, properties=bounded,
            timeout=self.timeout_s, tls_context=ssl.create_default_context() if self.settings.tls else None,
        )  # fmt: skip
        try:
            async with client:
                await client.subscribe(self.settings.topic, qos=1)
                try:
                    async with asyncio.timeout(self.timeout_s / 2):
                        async for message in client.messages:
                            return bytes(message.payload)
                except TimeoutError:
                    pass
                return None
        except aiomqtt.MqttError as error:
            said = str(error)
            if any(word in said.lower() for word in _REFUSED_LOGIN):
                raise ProbeError(Reason.UNAUTHORISED, f"the broker does not take us: {said}") from error
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from error
            raise ProbeError(Reason.UNREACHABLE, f"the broker: {said}") from error
