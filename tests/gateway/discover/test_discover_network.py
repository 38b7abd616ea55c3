"""Cameras and loudspeakers on real sockets: on loopback, and in a hamlet of its own with multicast and ARP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from gateway.discover import cameras, loudspeakers
from gateway.discover.finding import Standing
from gateway.discover.known import Known, Sections
from gateway.discover.names import Names
from gateway.discover.places import Places, places_of
from gateway.discover.sweep import Answered, sweep
from gateway.probes.cameras.discovery import GROUP, Found
from gateway.probes.cameras.settings import Camera
from gateway.probes.loudspeakers.settings import Axis, Loudspeaker, Sip
from gateway.probes.network.rtnetlink import Link, own_addresses
from simulators.camera_onvif import Discoverable
from simulators.loudspeaker_sip import SipSpeaker
from tests.gateway.discover.discover_bed import configuration, serving
from tests.gateway.probes.loudspeakers.test_gateway_loudspeakers_real import proxy
from tests.gateway.probes.network.lines_bed import HAMLET, ROUTER, World, inside, world

__all__ = ["proxy", "world"]
HERE = IPv4Address("127.0.0.1")
LO = Link(1, "lo", up=True, carrier=True, loopback=True)
CABLE = Link(2, "eth0", up=True, carrier=True, loopback=False)


def addresses(*texts: str, link: Link = CABLE) -> list[tuple[Link, IPv4Interface]]:
    return [(link, IPv4Interface(text)) for text in texts]


def test_every_local_network_is_searched_and_nothing_that_leads_away() -> None:
    tunnel = Link(3, "wg0", up=True, carrier=True, loopback=False, neighbours=False)
    unplugged = Link(4, "eth1", up=True, carrier=False, loopback=False)
    given = [
        *addresses("192.168.1.5/24"), *addresses("127.0.0.1/8", link=LO), *addresses("10.9.0.2/24", link=tunnel),
        *addresses("192.168.7.1/24", link=unplugged),
    ]  # fmt: skip
    places = places_of(given, (), ())
    assert places.own == (("eth0", IPv4Address("192.168.1.5")),)
    assert places.networks == (IPv4Network("192.168.1.0/24"),)
    assert len(places.hosts()) == 253  # neither the network, nor its broadcast, nor ourselves


@pytest.mark.parametrize("asked", ["lo", "127.0.0.1"])
def test_loopback_is_searched_where_it_is_named(asked: str) -> None:
    given = addresses("127.0.0.1/8", link=LO)
    assert places_of(given, (), ()).own == ()
    assert places_of(given, (asked,), ()).own == (("lo", HERE),)


def test_a_large_or_public_network_is_not_asked_host_by_host_unless_named() -> None:
    given = addresses("10.0.0.5/16", "11.0.0.5/24", "172.16.0.1/22")
    places = places_of(given, (), ())
    assert places.networks == (IPv4Network("172.16.0.0/22"),)
    assert (places.too_large, places.public) == ((IPv4Network("10.0.0.0/16"),), (IPv4Network("11.0.0.0/24"),))
    named = places_of(given, (), (IPv4Network("10.0.3.0/24"),))
    assert (named.networks, named.too_large, named.public) == ((IPv4Network("10.0.3.0/24"),), (), ())


async def test_what_is_left_out_is_said_with_its_remedy() -> None:
    answered, left = await loudspeakers.search(places_of(addresses("10.0.0.5/16", "11.0.0.5/24"), (), ()))
    assert answered == []
    assert [one.thing for one in left] == ["10.0.0.0/16", "11.0.0.0/24"]
    assert all("--network" in one.remedy.vi and "--network" in one.remedy.en for one in left)
    for search in (loudspeakers.search(Places()), cameras.search(())):
        nothing, left = await search
        assert (nothing, len(left)) == ([], 1)
        assert "--interface" in left[0].remedy.vi


async def test_a_camera_on_an_interface_is_found_and_written_with_its_service() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Discoverable, local_addr=("127.0.0.1", 0))
    try:
        group = transport.get_extra_info("sockname")
        found, left = await cameras.search([("lo", HERE), ("lo", HERE)], seconds=0.5, group=group)
    finally:
        transport.close()
    assert (len(found), left) == (1, [])
    [elsewhere] = cameras.findings(found, Known(), Names(), [IPv4Network("10.0.0.0/8")])
    assert (elsewhere.standing, elsewhere.section) == (Standing.SEEN, None)
    [said] = cameras.findings(found, Known(), Names(), [IPv4Network("127.0.0.0/8")])
    assert said.section is not None
    assert said.section.settings == Camera(name="cong-ubnd", host="127.0.0.1", onvif_port=8080)
    assert said.section.credentials == "camera-cong-ubnd"


async def test_an_interface_that_cannot_ask_does_not_silence_the_others() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Discoverable, local_addr=("127.0.0.1", 0))
    try:
        gone = ("eth9", IPv4Address("192.0.2.1"))
        found, left = await cameras.search(
            [gone, ("lo", HERE)], seconds=0.5, group=transport.get_extra_info("sockname")
        )
    finally:
        transport.close()
    assert len(found) == 1
    assert [one.thing for one in left] == ["eth9 192.0.2.1"]


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        ([], Standing.NEW),
        ([Camera(name="a", host="10.0.0.9", onvif_port=8000)], Standing.KNOWN),
        ([Camera(name="a", host="10.0.0.9", onvif_port=0, stream="/1")], Standing.KNOWN),
        ([Camera(name="a", host="10.0.0.9", onvif_port=8001)], Standing.NEW),  # another one behind the same router
    ],
)
def test_a_camera_that_is_configured_is_not_proposed_again(known: list[Camera], standing: Standing) -> None:
    found = [Found(host="10.0.0.9", port=8000, path="/onvif", name="a", hardware="")]
    had = Known(sections=Sections(camera=known))
    assert [one.standing for one in cameras.findings(found, had, had.names()["camera"])] == [standing]


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        ([Loudspeaker(name="a", sip=[Sip(host="10.0.0.9")])], Standing.KNOWN),
        ([Loudspeaker(name="a", axis=[Axis(url="https://10.0.0.9/")])], Standing.KNOWN),
        ([Loudspeaker(name="a", axis=[Axis(url="https://[")])], Standing.NEW),
        ([Loudspeaker(name="a", sip=[Sip(host="10.0.0.9", port=5062)])], Standing.NEW),
    ],
)
def test_a_loudspeaker_that_is_configured_is_not_proposed_again(known: list[Loudspeaker], standing: Standing) -> None:
    had = Known(sections=Sections(loudspeaker=known))
    answered = [Answered(host="10.0.0.9", port=5060, status=200, software="AXIS C1310-E")]
    [said] = loudspeakers.findings(answered, had, had.names()["loudspeaker"])
    assert said.standing is standing
    assert said.candidate is (standing is Standing.NEW)


@pytest.mark.parametrize("status", [200, 401, 404, 405, 480, 486, 503])
async def test_any_final_answer_makes_a_candidate(status: int) -> None:
    async with SipSpeaker(status=status) as speaker:
        answered = await sweep([HERE], port=speaker.port, wave_s=0.2, last_s=0.2)
    assert [(one.host, one.port, one.status) for one in answered] == [("127.0.0.1", speaker.port, status)]


@pytest.mark.parametrize("fault", ["silent", "garbage", "foreign"])
async def test_who_does_not_answer_sip_is_none(fault: str) -> None:
    async with SipSpeaker(fault=fault) as speaker:  # type: ignore[arg-type]
        assert await sweep([HERE], port=speaker.port, wave_s=0.1, last_s=0.2) == []
        assert len(speaker.requests) == 2


async def test_a_lost_question_is_asked_again_and_an_answered_one_is_not() -> None:
    async with SipSpeaker(fault="slow_start") as speaker:
        assert len(await sweep([HERE], port=speaker.port, wave_s=0.1, last_s=1.0)) == 1
    async with SipSpeaker() as speaker:
        assert len(await sweep([HERE], port=speaker.port, wave_s=0.1, last_s=1.0)) == 1
        assert len(speaker.requests) == 1


class Flooder(asyncio.DatagramProtocol):
    """Answers with noise without end, then rightly; and once as somebody who was not asked."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        kept = [
            line for line in data.decode().split("\r\n") if line.split(":")[0] in ("Via", "From", "Call-ID", "CSeq")
        ]
        right = "\r\n".join(["SIP/2.0 200 OK", *kept, "Server: a\x1b[31m\x00b" + "x" * 300, "", ""])
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(right.encode(), addr)
        stranger.close()
        for answer in ("noise", "x" * 9_000, right):
            self.transport.sendto(answer.encode(), addr)


async def test_a_hostile_answer_is_bounded_and_harmless() -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Flooder, local_addr=("127.0.0.1", 0))
    try:
        answered = await sweep([HERE], port=transport.get_extra_info("sockname")[1], wave_s=0.1, last_s=0.2)
    finally:
        transport.close()
    assert [one.host for one in answered] == ["127.0.0.1"]  # the stranger was not asked
    assert answered[0].software.startswith("a[31mbxxx")
    assert len(answered[0].software) == 80


async def test_a_network_that_cannot_be_reached_is_said() -> None:
    nowhere = Places(networks=(IPv4Network("255.255.255.255/32"),))  # broadcasting was never asked for: EACCES
    answered, left = await loudspeakers.search(nowhere, port=5060)
    assert answered == []
    assert [one.thing for one in left] == ["SIP"]


async def test_a_real_sip_server_is_found(proxy: int) -> None:
    for _ in range(20):  # it is still starting
        if answered := await sweep([HERE], port=proxy, wave_s=0.2, last_s=0.4):
            break
    assert [(one.status, one.software[:8]) for one in answered] == [(200, "kamailio")]


def test_our_own_addresses_come_with_their_networks() -> None:
    assert (True, IPv4Interface("127.0.0.1/8")) in [(link.loopback, own) for link, own in own_addresses()]


@asynccontextmanager
async def router() -> AsyncIterator[None]:
    """A camera and a loudspeaker, at the other end of the hamlet's cable."""
    loop = asyncio.get_running_loop()
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.bind((GROUP[0], GROUP[1]))
    line.setsockopt(
        socket.IPPROTO_IP,
        socket.IP_ADD_MEMBERSHIP,
        struct.pack("4s4s", socket.inet_aton(GROUP[0]), socket.inet_aton(ROUTER)),
    )
    camera, _ = await loop.create_datagram_endpoint(Camera239, sock=line)
    speaker = SipSpeaker(status=404)

    class Speaker(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            for answer in speaker.answers(data.decode()):
                self.transport.sendto(answer, addr)

    sip, _ = await loop.create_datagram_endpoint(Speaker, local_addr=(ROUTER, 5060))
    try:
        yield
    finally:
        camera.close()
        sip.close()
        await asyncio.sleep(0)


class Camera239(Discoverable):
    """Hears the group, and answers from its own address, as a camera does."""

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        class Own:
            @staticmethod
            def sendto(answer: bytes, to: tuple[str, int]) -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
                    line.bind((ROUTER, 0))
                    line.sendto(answer, to)

        self.transport = Own()  # type: ignore[assignment]
        super().datagram_received(data, address)


def test_the_command_finds_the_hamlets_devices_writes_them_and_finds_nothing_new_the_second_time(
    world: World, tmp_path: Path
) -> None:
    path = configuration(tmp_path)
    with serving(router, lambda work: inside(world.router, work)):
        command = [sys.executable, "-m", "xom", "gateway", "discover", "--config", str(path), "--lang", "en"]
        command += ["--only", "camera", "--only", "loudspeaker"]

        def run(*more: str) -> str:
            done = inside(
                world.hamlet,
                lambda: subprocess.run([*command, *more], capture_output=True, text=True, check=False, env=os.environ),
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        told = [json.loads(line) for line in run("--json").splitlines()]
        assert [(one["family"], one["thing"], one["standing"]) for one in told] == [
            ("camera", f"{ROUTER}:8080", "new"), ("loudspeaker", f"{ROUTER}:5060", "new"),
        ], (told, HAMLET)  # fmt: skip
        alone = tomllib.loads(run("--write", "-"))
        assert [one["host"] for one in alone["camera"]] == [ROUTER]
        assert "2 sections added" in run("--write", str(path))
        after = path.read_bytes()
        assert f"= {ROUTER}:8080" in run()
        assert "nothing new" in run("--write", str(path))
        assert path.read_bytes() == after
    assert tomllib.loads(after.decode())["loudspeaker"][0]["sip"] == [{"host": ROUTER, "port": 5060}]
