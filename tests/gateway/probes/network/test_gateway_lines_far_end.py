"""DNS, targets and pages against a far end on loopback: faults, hostile peers, bounds."""

from __future__ import annotations

import datetime
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gateway.probes.errors import ProbeError
from gateway.probes.network import page, resolver
from gateway.probes.network.connect import connected
from gateway.probes.network.dns import Answer, NotDns, decode_answer, encode_question
from gateway.probes.network.layer import DNS, HTTP, TRANSPORT, Layer, several, verdict
from gateway.probes.network.page import fetch, judge
from gateway.probes.network.reach import Target, Trust
from gateway.probes.network.resolver import probe_resolver
from gateway.probes.network.settings import Page
from gateway.probes.outcome import Reason, State
from simulators.lines import DnsFault, FarEnd, PageFault
from tests.gateway.probes.network.lines_bed import reach, way

ANSWER = bytes.fromhex("85800001000100000000056b6e6f776e076578616d706c650000010001c00c000100010000003c0004c633640a")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_TRY_S", 0.3)
    monkeypatch.setattr(page, "_PAGE_S", 0.7)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (DnsFault.NONE, Reason.NONE),
        (DnsFault.TRUNCATES, Reason.NONE),
        (DnsFault.STRANGER, Reason.NONE),
        (DnsFault.MUTE, Reason.TIMEOUT),
        (DnsFault.GARBAGE, Reason.TIMEOUT),
        (DnsFault.LIES, Reason.DNS_LIES),
        (DnsFault.INSIDE, Reason.DNS_LIES),
        (DnsFault.FAILS, Reason.DEVICE_ERROR),
        (DnsFault.REFUSES, Reason.REFUSED),
    ],
)
async def test_each_fault_of_a_resolver_has_its_reason(fault: DnsFault, reason: Reason) -> None:
    end = FarEnd(dns_fault=fault)
    async with end.resolver() as at:
        layer, addresses = await probe_resolver(way(), at, "known.example", "xom-1.example")
    assert layer.reason is reason, layer
    assert (layer.state is State.OK) == (reason is Reason.NONE)
    if reason is Reason.NONE:
        assert addresses == ("198.51.100.10",)
    assert end.over_tcp == (2 if fault is DnsFault.TRUNCATES else 0)


async def test_nobody_at_the_resolvers_port_is_a_refusal() -> None:
    async with FarEnd().resolver() as at:
        pass
    layer, _ = await probe_resolver(way(), at, "known.example", "xom-1.example")
    assert layer.reason is Reason.REFUSED


def test_an_answer_is_taken_only_for_its_question() -> None:
    question = encode_question(0x8580, "known.example")
    data = question[:2] + ANSWER[0:0] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question[12:] + ANSWER[-16:]
    assert decode_answer(data, question) == Answer(0, False, ("198.51.100.10",))
    with pytest.raises(NotDns):
        decode_answer(data, encode_question(1, "known.example"))
    with pytest.raises(NotDns):
        decode_answer(data, encode_question(0x8580, "other.example"))
    for cut in range(len(data)):
        with pytest.raises(NotDns):
            decode_answer(data[:cut], question)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    question = encode_question(7, "a.b")
    for candidate in (data, question[:2] + b"\x81\x80\x00\x01\x00\x05\x00\x00\x00\x00" + question[12:] + data):
        try:
            decode_answer(candidate, question)
        except NotDns:
            continue


async def asked(fault: PageFault, path: str = "/known", body: str = "xom\n") -> Layer:
    end = FarEnd(page_fault=fault)
    async with end.pages() as url:
        port = int(url.rpartition(":")[2])
        try:
            async with connected(way(), "127.0.0.1", port) as stream:
                return judge(await fetch(stream, url + path), body)
        except ProbeError as error:
            return Layer.failed(error.reason, str(error))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (PageFault.NONE, Reason.NONE),
        (PageFault.REDIRECT, Reason.PORTAL),
        (PageFault.LOGIN, Reason.PORTAL),
        (PageFault.REQUIRED, Reason.PORTAL),
        (PageFault.BROKEN, Reason.DEVICE_ERROR),
        (PageFault.MUTE, Reason.TIMEOUT),
        (PageFault.DRIP, Reason.TIMEOUT),
        (PageFault.FLOOD, Reason.TOO_LARGE),
        (PageFault.NOT_HTTP, Reason.NOT_THE_PROTOCOL),
        (PageFault.CLOSES, Reason.CLOSED),
    ],
)
async def test_each_fault_of_a_page_has_its_reason(fault: PageFault, reason: Reason) -> None:
    layer = await asked(fault)
    assert layer.reason is reason, layer


async def test_a_page_of_204_takes_no_body_in_its_place() -> None:
    assert (await asked(PageFault.NONE, "/204", "")).state is State.OK
    assert (await asked(PageFault.LOGIN, "/204", "")).reason is Reason.PORTAL
    assert (await asked(PageFault.NONE, "/204", "xom\n")).reason is Reason.PORTAL


def self_signed(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and the one of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


async def test_tls_targets_are_believed_by_their_certificate_alone(tmp_path: Path) -> None:
    server, client = self_signed(tmp_path, "known.example")
    end = FarEnd(known={"known.example": "127.0.0.1", "other.example": "127.0.0.1"})
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(end.resolver())
        port = await stack.enter_async_context(end.target(context=server))
        plain = await stack.enter_async_context(end.target())
        url = await stack.enter_async_context(end.pages())
        pages = (Page(url=f"{url}/204"),)
        trust = Trust(lambda: client)
        for targets, state, reason in (
            ((f"tls://known.example:{port}",), State.OK, Reason.NONE),
            ((f"tls://other.example:{port}",), State.FAIL, Reason.TLS),
            ((f"tls://other.example:{port}", f"tcp://127.0.0.1:{plain}"), State.DEGRADED, Reason.TLS),
        ):
            # The names lead to loopback, which no public resolver may say: so these are asked as lying ones are.
            layers, _ = await reach((at,), targets, pages, trust).layers(way())
            assert layers[DNS].reason is Reason.DNS_LIES
            assert (layers[TRANSPORT].state, layers[TRANSPORT].reason) == (state, reason), layers
            assert layers[HTTP].state is State.OK


def test_several_are_degraded_by_one_and_failed_by_all() -> None:
    good, bad = Layer(State.OK), Layer(State.FAIL, Reason.REFUSED, "no")
    assert several({"a": good, "b": good}).state is State.OK
    assert several({"a": good, "b": bad}) == Layer(State.DEGRADED, Reason.REFUSED, "b: no")
    assert several({"a": bad, "b": bad}).state is State.FAIL
    assert several({"a": bad, "b": Layer(State.FAIL, Reason.PORTAL)}).reason is Reason.PORTAL


def test_a_verdict_of_what_was_not_allowed_is_unknown() -> None:
    outcome = verdict({"link": Layer(State.OK), "gateway": Layer.failed(Reason.NO_PERMISSION, "no")})
    assert (outcome.state, outcome.reason, outcome.rung) == (State.UNKNOWN, Reason.NO_PERMISSION, "link")


@pytest.mark.parametrize(
    "text", ["known.example:443", "udp://a:1", "tcp://:1", "tcp://a:0", "tcp://a:70000", "tls://a"]
)
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tcp://host:port"):
        Target.parse(text)
