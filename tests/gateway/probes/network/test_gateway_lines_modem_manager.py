"""ModemManager, as a stand-in on a private bus."""

from __future__ import annotations

from typing import Any

import pytest
from dbus_fast import Message, Variant

from gateway.probes.errors import ProbeError
from gateway.probes.network.layer import Figures
from gateway.probes.network.mobile import layers_of, outcome_of
from gateway.probes.network.modem_manager import ModemManager
from gateway.probes.network.settings import Modem
from gateway.probes.outcome import Outcome, Reason, State
from tests.gateway.probes.network.lines_bus import Answer, private_bus, stand_in, variants

__all__ = ["private_bus"]
NAME = "org.freedesktop.ModemManager1"


class StandIn:
    """One modem; its signal is known only after Setup, as with the real one."""

    def __init__(self, *, state: int = 8, failed: int = 0, registered: int = 1, rsrp: float = -95.0) -> None:
        self.state, self.failed, self.registered, self.rsrp = state, failed, registered, rsrp
        self.rate = 0

    def __call__(self, message: Message) -> Answer | str:
        match message.member:
            case "GetManagedObjects":
                modem: dict[str, Variant] = {
                    "State": Variant("i", self.state), "StateFailedReason": Variant("u", self.failed),
                    "PrimaryPort": Variant("s", "cdc-wdm0"), "AccessTechnologies": Variant("u", 1 << 14),
                    "Manufacturer": Variant("s", "QUALCOMM"), "Model": Variant("s", "MF"),
                }  # fmt: skip
                network = {
                    "RegistrationState": Variant("u", self.registered), "OperatorCode": Variant("s", "45204"),
                    "OperatorName": Variant("s", "Viettel"),
                }  # fmt: skip
                signal = {key: Variant(*value) for key, value in self.signal().items()}
                interfaces = {
                    f"{NAME}.Modem": modem,
                    f"{NAME}.Modem.Modem3gpp": network,
                    f"{NAME}.Modem.Signal": signal,
                }
                return "a{oa{sa{sv}}}", [{"/org/freedesktop/ModemManager1/Modem/0": interfaces}]
            case "Setup":
                self.rate = message.body[0]
                return "", []
            case "GetAll":
                return variants(self.signal())
        return "org.freedesktop.DBus.Error.UnknownMethod"

    def signal(self) -> dict[str, tuple[str, Any]]:
        lte = {"rsrp": Variant("d", self.rsrp), "rsrq": Variant("d", -9.0)} if self.rate else {}
        return {"Rate": ("u", self.rate), "Lte": ("a{sv}", lte)}


async def told(address: str, made: StandIn, port: str = "cdc-wdm0") -> Outcome:
    async with stand_in(address, NAME, made):
        said = await ModemManager(port=port, bus=address).ask()
    return outcome_of(said, layers_of(said, Modem(name="a")), Figures())


async def test_a_modem_tells_its_signal_after_being_asked_to_measure(private_bus: str) -> None:
    outcome = await told(private_bus, StandIn())
    assert (outcome.state, outcome.rung) == (State.OK, "signal"), outcome
    values = {one.name: one.value for one in outcome.figures}
    assert (values["mobile_rsrp"], values["mobile_generation"]) == (-95.0, 4.0)
    assert outcome.facts["plmn"] == "45204"


@pytest.mark.parametrize(
    ("made", "state", "rung", "reason"),
    [
        (StandIn(state=-1, failed=2), State.UNKNOWN, "modem", Reason.NO_SIM),
        (StandIn(state=2), State.UNKNOWN, "modem", Reason.CREDENTIALS_MISSING),
        (StandIn(state=3, registered=0), State.UNKNOWN, "sim", Reason.MISCONFIGURED),
        (StandIn(registered=2), State.FAIL, "sim", Reason.NOT_REGISTERED),
        (StandIn(registered=3), State.UNKNOWN, "sim", Reason.UNAUTHORISED),
        (StandIn(registered=4), State.UNKNOWN, "sim", Reason.NOT_KNOWN),
        (StandIn(rsrp=-32768.0), State.UNKNOWN, "registered", Reason.NOT_KNOWN),
        (StandIn(rsrp=-115.0), State.FAIL, "registered", Reason.WEAK_SIGNAL),
    ],
)
async def test_each_state_of_a_modem(private_bus: str, made: StandIn, state: State, rung: str, reason: Reason) -> None:
    outcome = await told(private_bus, made)
    assert (outcome.state, outcome.rung, outcome.reason) == (state, rung, reason)


async def test_no_modem_no_service_no_bus_are_equipment_of_ours(private_bus: str) -> None:
    with pytest.raises(ProbeError) as other:
        await told(private_bus, StandIn(), port="ttyUSB9")
    with pytest.raises(ProbeError) as absent:
        await ModemManager(bus=private_bus).ask()
    with pytest.raises(ProbeError) as no_bus:
        await ModemManager(bus="unix:path=/nonexistent/bus").ask()
    assert {one.value.reason for one in (other, absent, no_bus)} == {Reason.NO_EQUIPMENT}
