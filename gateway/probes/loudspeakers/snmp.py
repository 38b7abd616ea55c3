"""SNMP v2c and v3 (RFC 3416, 3414, 3826): uptime, one interface, and the numbers that the configuration names."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Final

from gateway.clock import Instant
from gateway.probes.credentials import Credentials
from gateway.probes.errors import ProbeError
from gateway.probes.loudspeakers.finding import FINE, Check, Finding
from gateway.probes.loudspeakers.memory import Memory
from gateway.probes.loudspeakers.settings import Snmp
from gateway.probes.outcome import Fact, Reason, State
from wire.reading import Quantity

_UPTIME: Final = "1.3.6.1.2.1.1.3.0"  # SNMPv2-MIB sysUpTime, hundredths of a second
_OPERATING: Final = "1.3.6.1.2.1.2.2.1.8."  # IF-MIB ifOperStatus, 1 up
_WRAP_MS: Final = 2**32 * 10  # sysUpTime begins anew after 497 days
_SAME_BOOT_MS: Final = 60_000
_LOGIN: Final = ("unknownusername", "wrongdigest", "decryptionerror", "unsupportedsecuritylevel", "authorizationerror")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnmpAdapter:
    """One agent."""

    settings: Snmp
    credentials: Credentials
    timeout_s: float
    name: str = "snmp"
    gives: frozenset[str] = frozenset({"reach"})
    is_asked_directly: bool = True
    keeps_log: bool = False

    @property
    def signs(self) -> frozenset[str]:
        """What shows playing."""
        return frozenset(figure.evidence for figure in self.settings.figure if figure.evidence)

    async def ask(self, now: Instant, memory: Memory) -> Finding:
        """Ask for everything in one request."""
        there = self.settings
        interface = f"{_OPERATING}{there.interface}"
        wanted = [_UPTIME, *([interface] if there.interface else []), *(figure.at for figure in there.figure)]
        found = await self._get(wanted)
        facts: dict[str, Fact] = {}
        figures: list[Quantity] = []
        signs: dict[str, bool] = {}
        check = FINE
        uptime = found.get(_UPTIME)
        if uptime is not None:
            figures.append(Quantity("uptime", "s", uptime / 100))
            facts["restarted"] = _restarted(memory, now, round(uptime * 10))
        missing = [oid for oid in wanted if oid not in found]
        if missing:
            facts["missing"] = [*missing[:20]]
            check = Check(State.DEGRADED, Reason.NOT_FOUND, f"it has no number at {missing[0]}")
        if there.interface and found.get(interface, 1.0) != 1.0:
            check = Check(State.DEGRADED, Reason.NO_LINK, f"interface {there.interface} is not up")
        for figure in there.figure:
            if figure.at in found:
                value = found[figure.at] * figure.scale
                figures.append(Quantity(figure.name, figure.unit, value))
                if figure.evidence:
                    signs[figure.evidence] = value >= figure.at_least
        return Finding(checks={"reach": check}, figures=tuple(figures), facts=facts, signs=signs)

    async def _get(self, oids: list[str]) -> dict[str, float]:
        """Return the numbers there are, by OID; raises ProbeError, TimeoutError."""
        from pysnmp.hlapi.v3arch import asyncio as snmp  # type: ignore[import-untyped]  # only where a cluster is asked by SNMP

        who = self._who(snmp)
        engine = snmp.SnmpEngine()
        try:
            target = await snmp.UdpTransportTarget.create(
                (self.settings.host, self.settings.port), timeout=self.timeout_s / 3, retries=1
            )
            asked = [snmp.ObjectType(snmp.ObjectIdentity(oid)) for oid in oids]
            trouble, status, index, bound = await snmp.get_cmd(
                engine, who, target, snmp.ContextData(), *asked, lookupMib=False
            )
        except Exception as error:
            if isinstance(error, (OSError, asyncio.CancelledError)):
                raise
            raise ProbeError(Reason.PROBE_ERROR, f"SNMP: {type(error).__name__}: {error}") from error
        finally:
            engine.close_dispatcher()
        if trouble:
            raise _sorted(trouble)
        if status:
            raise ProbeError(Reason.DEVICE_ERROR, f"it answers error {int(status)} at {int(index)}", rung="answers")
        numbers = {str(name): _number(value) for name, value in bound}
        return {oid: value for oid, value in numbers.items() if value is not None}

    def _who(self, snmp: Any) -> Any:
        mine = self.credentials.of(self.settings.credentials)
        if self.settings.version == "2c":
            return snmp.CommunityData(mine.community or "public", mpModel=1)
        if not (mine.username and mine.auth_key and mine.privacy_key):
            raise ProbeError(Reason.CREDENTIALS_MISSING, "SNMP v3 wants username, auth_key and privacy_key")
        try:
            return snmp.UsmUserData(
                mine.username, mine.auth_key, mine.privacy_key,
                authProtocol=snmp.usmHMACSHAAuthProtocol, privProtocol=snmp.usmAesCfb128Protocol,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - pysnmp's own kinds, one for a key that is too short
            raise ProbeError(Reason.MISCONFIGURED, f"SNMP v3 login: {type(error).__name__}") from None


def _sorted(trouble: object) -> Exception:
    word = type(trouble).__name__.lower()
    if word == "requesttimedout":
        return TimeoutError("no answer to SNMP: nobody there, or another community")
    if any(login in word for login in _LOGIN):
        return ProbeError(Reason.UNAUTHORISED, f"it does not take our login: {trouble}", rung="answers")
    return ProbeError(Reason.NOT_THE_PROTOCOL, f"SNMP: {trouble}")


def _number(value: Any) -> float | None:
    """Return a number, also one written as text, as vendors do; None for what is missing."""
    try:
        found = float(value.prettyPrint() if type(value).__name__ == "OctetString" else int(value))
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
    return found if math.isfinite(found) else None


def _restarted(memory: Memory, now: Instant, uptime_ms: int) -> bool:
    """Return whether it has started since last time. The counter's own overflow is none."""
    booted_ms, before_ms = now.wall_ms - uptime_ms, memory.booted_ms
    memory.booted_ms = booted_ms
    if not before_ms or abs(booted_ms - before_ms) <= _SAME_BOOT_MS:
        return False
    return abs(booted_ms - before_ms - _WRAP_MS) > _SAME_BOOT_MS and booted_ms > before_ms
