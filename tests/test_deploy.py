"""The broker configurations that we ship, each started by a real Mosquitto: what their remarks promise is true."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.sources import chirpstack
from tests.real_mosquitto import PROGRAM, free_port
from wire.batch import MAX_ENVELOPE_BYTES
from wire.identity import GatewayId
from wire.mqtt import Broker, Link, Message, Terms, Unavailable
from wire.topics import Subject, Topic, every_gateway

pytestmark = pytest.mark.mosquitto

DEPLOY = Path(__file__).parent.parent / "deploy" / "mosquitto"
SWITCHED_OFF = re.compile(r"^#(?=[a-z])", re.MULTILINE)
ANN, BOB = GatewayId("gw-ann"), GatewayId("gw-bob")
DEADLINE_S = 15.0


def settings(name: str, home: Path, **overrides: str) -> str:
    """A shipped file with the machine's own paths and ports replaced, and nothing else."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for setting, value in {"persistence_location": f"{home}/", **overrides}.items():
        text, count = re.subn(rf"^{setting} .*$", f"{setting} {value}", text, flags=re.MULTILINE)
        assert count == 1, f"{name} has {setting} {count} times"
    return text + ("user root\n" if os.geteuid() == 0 else "")


@contextlib.contextmanager
def running(text: str, home: Path, port: int) -> Iterator[None]:
    assert PROGRAM is not None
    config, log_file = home / "mosquitto.conf", home / "mosquitto.log"
    config.write_text(text, encoding="utf-8")
    with log_file.open("ab") as log:
        process = subprocess.Popen([PROGRAM, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + DEADLINE_S
        while True:
            assert process.poll() is None, f"Mosquitto ended at once:\n{log_file.read_text()}"
            assert time.monotonic() < end, f"Mosquitto does not listen:\n{log_file.read_text()}"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.02)
        yield
        assert process.poll() is None, f"Mosquitto ended by itself:\n{log_file.read_text()}"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


async def test_the_gateway_broker_keeps_what_chirpstack_says_while_the_gateway_is_away(tmp_path: Path) -> None:
    port, count = free_port(), 3_000  # the default queue keeps 1,000
    terms = chirpstack.terms("xom-gw-ann", "+")
    broker = Broker(port=port)
    with running(settings("gateway.conf", tmp_path, listener=f"{port} 127.0.0.1"), tmp_path, port):
        async with asyncio.timeout(60), Link(broker, terms) as link:
            await link.wait_connected()
        async with asyncio.timeout(60), Link(broker, Terms(client_id="chirpstack")) as server:
            await server.wait_connected()
            topic = "application/1/device/a84041000000aa01/event/up"
            await asyncio.gather(*(server.publish(topic, b"%d" % number) for number in range(count)))
        async with asyncio.timeout(60), Link(broker, terms) as link:
            heard = await take(link, count)
    assert [int(message.payload) for message in heard] == list(range(count))


async def test_the_hub_broker_lets_a_gateway_speak_for_itself_alone(tmp_path: Path) -> None:
    port = free_port()
    with running(hub_settings(tmp_path, port), tmp_path, port):
        async with (
            asyncio.timeout(60),
            Link(client(port, "xom-hub", tmp_path), hub_terms()) as hub,
            Link(client(port, ANN, tmp_path), gateway_terms(ANN)) as ann,
            Link(client(port, BOB, tmp_path), gateway_terms(BOB)) as bob,
        ):
            for link in (hub, ann, bob):
                await link.wait_connected()
            largest = b"b" * MAX_ENVELOPE_BYTES
            assert await ann.publish(str(Topic(ANN, Subject.BATCH)), largest) == 0
            [message] = await take(hub, 1)
            assert (message.topic, message.payload) == (str(Topic(ANN, Subject.BATCH)), largest)

            assert "Not authorized" in await refusal(ann, Topic(BOB, Subject.BATCH))
            assert "Not authorized" in await refusal(ann, Topic(ANN, Subject.ACK))

            await hub.publish(str(Topic(BOB, Subject.ACK)), b"ack", retain=True)
            [message] = await take(bob, 1)
            assert message.payload == b"ack"


async def test_the_hub_broker_refuses_who_has_no_password(tmp_path: Path) -> None:
    port = free_port()
    with running(hub_settings(tmp_path, port), tmp_path, port):
        async with asyncio.timeout(60), Link(Broker(port=port), Terms(client_id="stranger")) as link:
            while "refused" not in link.problem:  # noqa: ASYNC110 - a link has no event for being refused
                await asyncio.sleep(0.01)


async def test_a_name_in_use_cannot_be_taken_by_another_client(tmp_path: Path) -> None:
    port = free_port()
    with running(hub_settings(tmp_path, port), tmp_path, port):
        async with (
            asyncio.timeout(60),
            Link(client(port, ANN, tmp_path), gateway_terms(ANN)) as ann,
            Link(client(port, BOB, tmp_path), gateway_terms(ANN)) as impostor,
        ):
            await ann.wait_connected()
            await asyncio.sleep(1.0)
            assert ann.connected
            assert ann.counters.losses == 0
            assert not impostor.connected or impostor.counters.losses == 0


@pytest.mark.parametrize("with_certificate", [False, True], ids=["password", "certificate"])
async def test_the_hub_brokers_tls_listener_works_once_it_is_switched_on(
    tmp_path: Path, *, with_certificate: bool
) -> None:
    port, tls_port = free_port(), free_port()
    make_certificates(tmp_path)
    text = SWITCHED_OFF.sub("", hub_settings(tmp_path, port))
    replacements = {"listener 8883": f"listener {tls_port}", "/etc/mosquitto/certs/": f"{tmp_path}/"}
    if not with_certificate:
        replacements |= {"require_certificate true": "", "use_identity_as_username true": ""}
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    ca = tmp_path / "gateways-ca.crt"
    if with_certificate:
        broker = Broker(
            port=tls_port, tls_ca=ca, tls_certificate=tmp_path / f"{ANN}.crt", tls_key=tmp_path / f"{ANN}.key"
        )
    else:
        broker = Broker(port=tls_port, tls_ca=ca, username=ANN, password_file=tmp_path / f"{ANN}.password")
    with running(text, tmp_path, port):
        async with (
            asyncio.timeout(60),
            Link(client(port, "xom-hub", tmp_path), hub_terms()) as hub,
            Link(broker, gateway_terms(ANN)) as ann,
        ):
            await hub.wait_connected()
            await ann.wait_connected()
            assert await ann.publish(str(Topic(ANN, Subject.BATCH)), b"batch") == 0
            assert "Not authorized" in await refusal(ann, Topic(BOB, Subject.BATCH))


def hub_settings(home: Path, port: int) -> str:
    """The hub's file, with a password for the hub and two gateways."""
    passwords = home / "xom-hub.passwd"
    passwords.touch(mode=0o600)
    program = shutil.which("mosquitto_passwd")
    assert program is not None
    for name in ("xom-hub", ANN, BOB):
        (home / f"{name}.password").write_text(f"secret of {name}\n", encoding="utf-8")
        subprocess.run([program, "-b", str(passwords), name, f"secret of {name}"], check=True, capture_output=True)
    acl = home / "xom-hub.acl"
    shutil.copy(DEPLOY / "hub.acl", acl)
    acl.chmod(0o600)
    return settings("hub.conf", home, listener=f"{port} 127.0.0.1", password_file=str(passwords), acl_file=str(acl))


def client(port: int, name: str, home: Path) -> Broker:
    return Broker(port=port, username=name, password_file=home / f"{name}.password")


def hub_terms() -> Terms:
    return Terms(client_id="xom-hub", subscriptions=[every_gateway(Subject.BATCH)])


def gateway_terms(gateway: GatewayId) -> Terms:
    return Terms(client_id=gateway, subscriptions=[str(Topic(gateway, Subject.ACK))])


async def refusal(link: Link, topic: Topic) -> str:
    """What a forged message is answered with. Mosquitto 2.0.11 cuts the connection after its no: ask again."""
    while True:
        await link.wait_connected()
        try:
            await link.publish(str(topic), b"forged")
        except Unavailable as error:
            if "refused a message" in str(error):
                return str(error)
        else:
            pytest.fail(f"the broker took a forged message on {topic}")
        await asyncio.sleep(0.05)


async def take(link: Link, count: int) -> list[Message]:
    """Receive and acknowledge so many messages."""
    heard: list[Message] = []
    async for pack in link.packs(200):
        heard += pack
        link.acknowledge(pack)
        if len(heard) >= count:
            break
    return heard


def make_certificates(home: Path) -> None:
    """A private authority, the broker's certificate (hub.crt) and one gateway's."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = certify(home / "gateways-ca.crt", "test authority", authority, authority, None)
    for file, name in (("hub", "127.0.0.1"), (ANN, ANN)):
        key = ec.generate_private_key(ec.SECP256R1())
        (home / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        certify(home / f"{file}.crt", name, key, authority, issuer)


def certify(
    file: Path,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(authority, hashes.SHA256())
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate
