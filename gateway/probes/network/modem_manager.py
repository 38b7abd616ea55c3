"""Asks a modem that ModemManager drives: over D-Bus, without touching its port (org.freedesktop.ModemManager1)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.probes.errors import ProbeError
from gateway.probes.network.bus import Refused, Service, connected
from gateway.probes.network.layer import OK, Layer
from gateway.probes.network.mobile import Registration, Told
from gateway.probes.network.signal import Signal
from gateway.probes.outcome import Fact, Reason, State

_NAME: Final = "org.freedesktop.ModemManager1"
_ROOT: Final = "/org/freedesktop/ModemManager1"
_MODEM: Final = f"{_NAME}.Modem"
_3GPP: Final = f"{_MODEM}.Modem3gpp"
_SIGNAL: Final = f"{_MODEM}.Signal"
_REFRESH_S: Final = 30
_MOST_MODEMS: Final = 16

# MMModemState, MMModemStateFailedReason, MMModem3gppRegistrationState, MMModemAccessTechnology.
_FAILED, _LOCKED, _DISABLED = -1, 2, (3, 4)
_SIM_MISSING, _SIM_ERROR = 2, 3
_REGISTRATIONS: Final = {
    0: Registration.IDLE, 1: Registration.HOME, 2: Registration.SEARCHING, 3: Registration.DENIED,
    4: Registration.UNKNOWN, 5: Registration.ROAMING,
}  # fmt: skip
_TECHNOLOGIES: Final = (
    (1 << 15, "NR", 5), (1 << 14, "LTE", 4), (0x3E0, "UMTS", 3), (0x1E, "GSM", 2)
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModemManager:
    """`port` is the primary port (`cdc-wdm0`), "" for the only modem; `bus` an address in place of the system's."""

    port: str = ""
    bus: str | None = None

    @property
    def device(self) -> str:
        """The modem."""
        return f"modemmanager:{self.port}"

    async def ask(self) -> Told:
        """Ask for the modem's properties; raises ProbeError."""
        async with connected(_NAME, self.bus) as service:
            try:
                path, interfaces = await self._modem(service)
                if not _table(interfaces.get(_SIGNAL)).get("Rate"):
                    with suppress(ProbeError, Refused):  # without the right to ask, there are no figures this time
                        await service.call(path, _SIGNAL, "Setup", "u", _REFRESH_S)
                        interfaces = {**interfaces, _SIGNAL: await service.properties(path, _SIGNAL)}
            except Refused as refused:
                raise ProbeError(Reason.PROBE_ERROR, str(refused)) from refused
        return told_of(interfaces)

    async def _modem(self, service: Service) -> tuple[str, Mapping[str, object]]:
        found = (await service.call(_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))[0]
        for path, interfaces in _table(found).items():
            properties = _table(_table(interfaces).get(_MODEM))
            if properties and (not self.port or self.port == properties.get("PrimaryPort")):
                return path, _table(interfaces)
        raise ProbeError(Reason.NO_EQUIPMENT, f"ModemManager has no modem {self.port}: `mmcli -L` lists them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A modem that ModemManager drives: its primary port, and all its ports by their names in /dev and `ip link`."""

    port: str
    maker: str
    model: str
    operator: str
    ports: frozenset[str]


async def present(bus: str | None = None) -> list[Present]:
    """Return the modems that there are; raises ProbeError. What names a person, IMEI and number, is not read."""
    async with connected(_NAME, bus) as service:
        try:
            found = (await service.call(_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"))[0]
        except Refused as refused:
            raise ProbeError(Reason.PROBE_ERROR, str(refused)) from refused
    interfaces = [_table(one) for one in list(_table(found).values())[:_MOST_MODEMS]]
    return [_present(one) for one in interfaces if _table(one.get(_MODEM))]


def _present(interfaces: Mapping[str, object]) -> Present:
    modem, network = _table(interfaces.get(_MODEM)), _table(interfaces.get(_3GPP))
    ports = modem.get("Ports")
    names = {_text(one[0]) for one in (ports if isinstance(ports, list) else []) if isinstance(one, list) and one}
    return Present(
        port=_text(modem.get("PrimaryPort")),
        maker=_text(modem.get("Manufacturer")),
        model=_text(modem.get("Model")),
        operator=_text(network.get("OperatorName")),
        ports=frozenset(names | {_text(modem.get("PrimaryPort"))}) - {""},
    )


def told_of(interfaces: Mapping[str, object]) -> Told:
    """Return what a modem's properties say. Pure."""
    modem, network = _table(interfaces.get(_MODEM)), _table(interfaces.get(_3GPP))
    facts: dict[str, Fact] = {
        "maker": _text(modem.get("Manufacturer")),
        "model": _text(modem.get("Model")),
        "state": _number(modem.get("State")),
        "operator": _text(network.get("OperatorName")),
    }
    sim = _sim(_number(modem.get("State")), _number(modem.get("StateFailedReason")))
    registration = _REGISTRATIONS.get(_number(network.get("RegistrationState")), Registration.UNKNOWN)
    technologies = _number(modem.get("AccessTechnologies"))
    name, generation = next(((name, age) for bits, name, age in _TECHNOLOGIES if technologies & bits), ("", None))
    return Told(
        modem=OK,
        sim=sim,
        radio_off=_number(modem.get("State")) in _DISABLED,
        registration=registration,
        signal=_signal(_table(interfaces.get(_SIGNAL)), name),
        plmn=_text(network.get("OperatorCode")),
        generation=generation if registration.stands else None,
        facts=facts,
    )


def _sim(state: int, why: int) -> Layer:
    if state == _LOCKED:
        return Layer(State.UNKNOWN, Reason.CREDENTIALS_MISSING, "the SIM wants a code: take its PIN off")
    if state == _FAILED and why in (_SIM_MISSING, _SIM_ERROR):
        return Layer(State.UNKNOWN, Reason.NO_SIM, "the modem finds no SIM, or a broken one")
    if state == _FAILED:
        return Layer(State.UNKNOWN, Reason.DEVICE_ERROR, f"the modem has failed (reason {why})")
    return OK


def _signal(tables: Mapping[str, object], technology: str) -> Signal:
    lte, nr, umts = (_table(tables.get(name)) for name in ("Lte", "Nr5g", "Umts"))
    return Signal(
        rsrp_dbm=_figure(lte.get("rsrp"), -144, -44),
        rsrq_db=_figure(lte.get("rsrq"), -43, -3),
        rssi_dbm=_figure(lte.get("rssi"), -120, -20),
        sinr_db=_figure(lte.get("snr"), -23, 40),
        nr_rsrp_dbm=_figure(nr.get("rsrp"), -156, -31),
        nr_rsrq_db=_figure(nr.get("rsrq"), -43, 20),
        rscp_dbm=_figure(umts.get("rscp"), -120, -24),
        technology=technology,
    )


def _figure(value: object, low: float, high: float) -> float | None:
    """Return a figure within its range; ModemManager writes -32768 where it knows none."""
    return float(value) if isinstance(value, int | float) and low <= value <= high else None


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value[:60] if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
