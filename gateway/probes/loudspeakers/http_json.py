"""A JSON page over HTTP: the device's own, or the platform's that looks after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.clock import Instant
from gateway.probes.credentials import Credentials
from gateway.probes.loudspeakers import answer
from gateway.probes.loudspeakers.fetch import fetch
from gateway.probes.loudspeakers.finding import FINE, Finding
from gateway.probes.loudspeakers.memory import Memory
from gateway.probes.loudspeakers.settings import Http


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAdapter:
    """One page, read by the paths of the configuration."""

    settings: Http
    credentials: Credentials
    seen_within_s: float
    sound_within_s: float
    name: str = "http"

    @property
    def gives(self) -> frozenset[str]:
        """A device that answers is reached."""
        return answer.gives(self.settings) | frozenset({"reach"} if self.is_asked_directly else set())

    @property
    def is_asked_directly(self) -> bool:
        """A platform's silence says nothing about the cluster."""
        return self.settings.asks == "device"

    @property
    def keeps_log(self) -> bool:
        """Whether a play log is named."""
        return bool(self.settings.play_log)

    @property
    def signs(self) -> frozenset[str]:
        """What shows playing."""
        return answer.signs(self.settings)

    async def ask(self, now: Instant, memory: Memory) -> Finding:
        """Read the page once."""
        _ = memory
        page = await fetch(
            self.settings.url, self.credentials.of(self.settings.credentials), verify_tls=self.settings.verify_tls
        )
        found = answer.read(
            page.json(), self.settings, now_ms=now.wall_ms, seen_within_s=self.seen_within_s,
            sound_within_s=self.sound_within_s, is_fresh=True,
        )  # fmt: skip
        return replace(found, checks={"reach": FINE, **found.checks}) if self.is_asked_directly else found
