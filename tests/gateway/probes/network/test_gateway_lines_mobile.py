"""The mobile probe against modems on a pseudo-terminal, and the pure readers of what modems say."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.probes.errors import ProbeError
from gateway.probes.network import at_modem
from gateway.probes.network.at import Exchange, Flood, fields_of, number
from gateway.probes.network.at_modem import AtModem
from gateway.probes.network.layer import DNS, HTTP, OK, TRANSPORT, Layer
from gateway.probes.network.mobile import MobileProbe, data_layer
from gateway.probes.network.settings import Modem, Page
from gateway.probes.network.signal import UNKNOWN, read_cesq, read_cpsi, read_csq, read_qeng
from gateway.probes.outcome import Outcome, Reason, State
from simulators.modem import Fault, Make, SimModem
from tests.gateway.probes.network.lines_bed import reach, way
from wire.identity import SourceId

NOWHERE = reach(("127.0.0.1:9",), ("tcp://127.0.0.1:9",), (Page(url="http://127.0.0.1:9/"),))
SETTINGS = Modem(name="viettel")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_modem, "_GREETING_S", 0.4)
    monkeypatch.setattr(at_modem, "_QUIET_S", 0.05)


async def told(modem: SimModem, *, interface: str | None = None, limit: int = 0) -> Outcome:
    probe = MobileProbe(
        source=SourceId("mobile:viettel"),
        every_s=900,
        deadline_s=120,
        modem=AtModem(device=modem.path),
        settings=SETTINGS,
        way=None if interface is None else way(interface, limit),
        reach=NOWHERE,
    )
    return await probe.run()


def short(outcome: Outcome) -> tuple[State, str, Reason]:
    return outcome.state, outcome.rung, outcome.reason


def figures(outcome: Outcome) -> dict[str, float | None]:
    return {one.name: one.value for one in outcome.figures}


@pytest.mark.parametrize("make", list(Make))
async def test_each_make_tells_its_signal(make: Make) -> None:
    with SimModem(make, rsrp_dbm=-95) as modem:
        outcome = await told(modem)
    assert short(outcome) == (State.OK, "signal", Reason.NONE), outcome
    assert figures(outcome)["mobile_rsrp"] == -95.0
    assert figures(outcome)["mobile_generation"] == 4.0
    assert (outcome.facts["plmn"], outcome.facts["registration"]) == ("45204", "home")
    if make is Make.RM500:
        assert figures(outcome)["mobile_nr_rsrp"] == -88.0


@pytest.mark.parametrize(
    ("fault", "state", "rung", "reason"),
    [
        (Fault.NO_SIM, State.UNKNOWN, "modem", Reason.NO_SIM),
        (Fault.PIN, State.UNKNOWN, "modem", Reason.CREDENTIALS_MISSING),
        (Fault.SEARCHING, State.FAIL, "sim", Reason.NO_SERVICE),
        (Fault.NO_NETWORK, State.FAIL, "sim", Reason.NO_SERVICE),
        (Fault.DENIED, State.UNKNOWN, "sim", Reason.UNAUTHORISED),
        (Fault.RADIO_OFF, State.UNKNOWN, "sim", Reason.MISCONFIGURED),
        (Fault.UNKNOWN_SIGNAL, State.UNKNOWN, "registered", Reason.NOT_KNOWN),
        (Fault.SILENT, State.UNKNOWN, "", Reason.TIMEOUT),
        (Fault.GARBAGE, State.UNKNOWN, "", Reason.NOT_THE_PROTOCOL),
        (Fault.FLOOD, State.UNKNOWN, "", Reason.TOO_LARGE),
        (Fault.NOISY, State.OK, "signal", Reason.NONE),
        (Fault.HALF_LINES, State.OK, "signal", Reason.NONE),
    ],
)
@pytest.mark.parametrize("make", [Make.EC25, Make.SIM7600])
async def test_each_fault_of_a_modem_is_told_apart(
    make: Make, fault: Fault, state: State, rung: str, reason: Reason
) -> None:
    with SimModem(make, fault) as modem:
        outcome = await told(modem)
    assert short(outcome) == (state, rung, reason), outcome
    if fault is Fault.UNKNOWN_SIGNAL:
        assert "mobile_rsrp" not in figures(outcome)


async def test_a_late_answer_is_not_taken_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_modem, "_LONG_REPLY_S", 0.5)
    with SimModem(Make.EC25, Fault.LATE) as modem:
        outcome = await told(modem)
    assert short(outcome) == (State.OK, "signal", Reason.NONE), outcome
    assert figures(outcome)["mobile_rsrp"] == -95.0
    assert outcome.facts["plmn"] == ""


@pytest.mark.parametrize(
    ("rsrp", "state"), [(-80, State.OK), (-100, State.OK), (-101, State.DEGRADED), (-111, State.FAIL)]
)
async def test_weak_signals_are_degraded_and_then_fail(rsrp: int, state: State) -> None:
    with SimModem(Make.A7670, rsrp_dbm=rsrp) as modem:
        outcome = await told(modem)
    assert outcome.state is state
    assert outcome.reason is (Reason.NONE if state is State.OK else Reason.WEAK_SIGNAL)


async def test_a_sim_out_of_data_is_no_missing_coverage() -> None:
    with SimModem() as modem:
        outcome = await told(modem, interface="lo")  # a bearer that leads nowhere
    assert short(outcome) == (State.UNKNOWN, "signal", Reason.NO_DATA), outcome
    assert outcome.checks["data"] is State.FAIL
    assert outcome.checks["registered"] is State.OK


async def test_spent_data_still_lets_the_radio_be_asked() -> None:
    with SimModem() as modem:
        settings = way("lo", 1)
        settings.budget.spend(2)
        probe = MobileProbe(
            source=SourceId("mobile:a"), every_s=1, deadline_s=1, modem=AtModem(device=modem.path), settings=SETTINGS,
            way=settings, reach=NOWHERE,
        )  # fmt: skip
        outcome = await probe.run()
    assert short(outcome) == (State.UNKNOWN, "signal", Reason.DATA_BUDGET)
    assert figures(outcome)["mobile_rsrp"] == -95.0


async def test_no_port_and_no_serial_port_are_equipment_of_ours(tmp_path: object) -> None:
    for device in ("/dev/serial/by-id/absent", "/dev/null"):
        with pytest.raises(ProbeError) as caught:
            await AtModem(device=device).ask()
        assert caught.value.outcome.state is State.UNKNOWN
        assert caught.value.reason is Reason.NO_EQUIPMENT


async def test_what_a_modem_says_of_people_is_not_kept() -> None:
    with SimModem(fault=Fault.NOISY) as modem:
        outcome = await told(modem)
    assert "+CMTI" in str(outcome.facts["news"])
    assert '"SM"' not in str(outcome.facts["news"])


def test_a_portal_in_place_of_the_page_is_a_sim_without_data() -> None:
    far = {DNS: OK, TRANSPORT: OK, HTTP: Layer.failed(Reason.PORTAL, "top up")}
    assert data_layer(far).reason is Reason.NO_DATA
    assert data_layer({**far, HTTP: Layer.failed(Reason.DEVICE_ERROR)}).state is State.OK


def test_csq_and_cesq_at_their_ends() -> None:
    assert read_csq(["+CSQ: 31,0"]).rssi_dbm == -51
    for unknown in ("+CSQ: 99,99", "+CSQ: 32,0", "+CSQ: ", "+CSQ: x"):
        assert read_csq([unknown]) == UNKNOWN
    low = read_cesq(["+CESQ: 99,99,255,255,0,0"])
    assert (low.rsrp_dbm, low.below) == (-140, True)
    assert read_cesq(["+CESQ: 99,99,255,255,255,255"]) == UNKNOWN
    assert read_cesq(["+CESQ: 99,99,255,255,255,255,60,70,90"]).nr_rsrp_dbm == -86
    assert read_cesq(["+CESQ: 99,99"]) == UNKNOWN


def test_qeng_reads_each_of_its_forms() -> None:
    head = '+QENG: "servingcell","NOCONN","LTE","FDD",452,04,1A2B3C4,271,1650,3,5,5,1A2B'
    signal = read_qeng([f"{head},-104,-9,-77,18,11,-,35"])
    assert (signal.rsrp_dbm, signal.rsrq_db, signal.rssi_dbm, signal.sinr_db) == (-104, -9, -77, None)
    assert read_qeng([f"{head},-104,-9,-77,18,11"], sinr="db").sinr_db == 18
    assert read_qeng([f"{head},-104,-9,-77,190,11"], sinr="fifths").sinr_db == 18
    for unknown in ("-,-,-,-", "-32768,-32768,-32768,-32768", "-10,5,0,0", ""):
        assert not read_qeng([f"{head},{unknown}"]).known
    nsa = read_qeng(['+QENG: "servingcell","NOCONN"', '+QENG: "LTE","FDD",452,04,1,2,3,3,5,5,6,-101,-5,-81,11',
                     '+QENG: "NR5G-NSA",452,04,123,-88,9,-11,633984,78'])  # fmt: skip
    assert (nsa.rsrp_dbm, nsa.nr_rsrp_dbm, nsa.nr_rsrq_db, nsa.technology) == (-101, -88, -11, "NR5G-NSA")
    empty = read_qeng(['+QENG: "LTE","FDD",452,04,1,2,3,3,5,5,6,-101,-5,-81,11', '+QENG: "NR5G-NSA",'])
    assert (empty.technology, empty.nr_rsrp_dbm) == ("LTE", None)
    assert read_qeng(['+QENG: "servingcell","SEARCH"']).no_service


HEAD = "+CPSI: LTE,Online,452-04,0x230A,175499523,318,EUTRAN-BAND3,1650,5,0"


@pytest.mark.parametrize(
    ("values", "model", "rsrp", "rsrq"),
    [
        ("-69,-900,-661,18", "SIMCOM_SIM7600E-H", -90.0, -6.9),
        ("-69,-900,-661,18", "A7670E", -90.0, -6.9),
        ("12,36,42,5", "A7670E", -104.0, -13.5),
        ("12,36,42,5", "SIMCOM_SIM7600E-H", None, None),
        ("-9,-104,-77,5", "", -104.0, -9.0),
        ("255,255,255,255", "A7670E", None, None),
        ("-,-,-,-", "A7670E", None, None),
        ("0,-32768,0,0", "SIM7600CE", None, None),
    ],
)
def test_cpsi_is_scaled_by_model_and_range(values: str, model: str, rsrp: float | None, rsrq: float | None) -> None:
    signal = read_cpsi([f"{HEAD},{values}"], model)
    assert (signal.rsrp_dbm, signal.rsrq_db) == (rsrp, rsrq)
    assert read_cpsi(["+CPSI: NO SERVICE,Online"], model).no_service


def test_only_a_result_code_ends_an_exchange() -> None:
    exchange = Exchange("AT+CSQ", "+CSQ:")
    assert exchange.feed(b"AT+CSQ\r\r\n+CS") is None
    assert exchange.feed(b'Q: 18,99\r\n\r\n+CMT: "x"\r\nO') is None
    reply = exchange.feed(b"K\r\n")
    assert reply is not None
    assert (reply.lines, reply.ok, reply.news) == (("+CSQ: 18,99",), True, ("+CMT",))
    for end, error in ((b"ERROR\r\n", "ERROR"), (b"+CME ERROR: 10\r\n", "10"), (b"+CMS ERROR: 500\r\n", "500")):
        failed = Exchange("AT").feed(end)
        assert failed is not None
        assert failed.error == error
    with pytest.raises(Flood):
        Exchange("AT").feed(bytes(10_000))
    assert fields_of('+COPS: 0,2,"45,204",7') == ["0", "2", "45,204", "7"]
    assert [number(one) for one in ("-", "", "-32768", "12", "x")] == [None, None, None, 12, None]


@given(st.binary(max_size=300))
def test_any_bytes_from_a_modem_are_read_or_refused(data: bytes) -> None:
    Exchange("AT+CSQ", "+CSQ:").feed(data)
    text = data.decode("latin-1")
    for signal in (read_qeng([text]), read_cpsi([text], ""), read_cesq([text]), read_csq([text])):
        assert all(value is None or -200 < value < 50 for value in dataclasses.astuple(signal)[:7])
