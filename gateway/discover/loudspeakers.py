"""Loudspeakers: whoever answers SIP on our networks may be one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.discover.cameras import no_address
from gateway.discover.finding import Family, Finding, Section, Standing, Unsearched
from gateway.discover.known import Known
from gateway.discover.names import Names
from gateway.discover.places import Places
from gateway.discover.sweep import PORT, Answered, sweep
from gateway.language import Text
from gateway.probes.limits import shown_text
from gateway.probes.loudspeakers.settings import Loudspeaker, Sip

_SHOWN: Final = frozenset({"host", "port"})
_ADVICE: Final = Text(
    "điện thoại và tổng đài SIP cũng trả lời như vậy: chỉ giữ lại những gì đúng là loa",
    "SIP phones and exchanges answer alike: keep only what is a loudspeaker",
)
_AXIS: Final = Text(
    "loa Axis còn có [[loudspeaker.axis]]: xem docs/probes/loudspeakers.md",
    "an Axis speaker has [[loudspeaker.axis]] besides: docs/probes/loudspeakers.md",
)


async def search(places: Places, *, port: int = PORT) -> tuple[list[Answered], list[Unsearched]]:
    """Return the hosts that answer SIP, and the networks that were left out."""
    left_out = [*_too_large(places), *_public(places)]
    hosts = places.hosts()
    if not hosts:
        return [], left_out or [no_address(Family.LOUDSPEAKER)]
    try:
        return await sweep(hosts, port=port), left_out
    except OSError as error:
        return [], [*left_out, _failed(error)]


def findings(answered: Iterable[Answered], known: Known, names: Names) -> list[Finding]:
    """Say what each one is, and how it would be configured. Pure."""
    return [_finding(one, known, names) for one in answered]


def _finding(one: Answered, known: Known, names: Names) -> Finding:
    software = f" ({one.software})" if one.software else ""
    what = Text(
        f"có thể là loa: trả lời SIP {one.status}{software}",
        f"perhaps a loudspeaker: answers SIP {one.status}{software}",
    )
    facts: dict[str, str | int | float | bool | list[str]] = {
        "host": one.host, "port": one.port, "status": one.status, "software": one.software,
    }  # fmt: skip
    thing = f"{one.host}:{one.port}"
    if known.has_loudspeaker(one.host, one.port):
        return Finding(family=Family.LOUDSPEAKER, thing=thing, what=what, standing=Standing.KNOWN, facts=facts)
    name = names.give(f"loa-{one.host.rpartition('.')[2]}", one.host.split(".")[2])
    is_axis = "axis" in one.software.lower()
    return Finding(
        family=Family.LOUDSPEAKER,
        thing=thing,
        what=what,
        standing=Standing.NEW,
        candidate=True,
        advice=_AXIS if is_axis else _ADVICE,
        section=Section(
            table="loudspeaker",
            settings=Loudspeaker(name=name, sip=[Sip(host=one.host, port=one.port)]),
            show=_SHOWN,
            notes=(what, _ADVICE, *((_AXIS,) if is_axis else ())),
        ),
        facts=facts,
    )


def _too_large(places: Places) -> list[Unsearched]:
    return [
        Unsearched(
            family=Family.LOUDSPEAKER,
            thing=str(network),
            what=Text("mạng quá lớn để hỏi từng máy", "the network is too large to ask each host"),
            remedy=Text(
                "nêu phần mạng có loa, ví dụ --network 192.168.1.0/24",
                "name the part where the loudspeakers are, such as --network 192.168.1.0/24",
            ),
        )
        for network in places.too_large
    ]


def _public(places: Places) -> list[Unsearched]:
    return [
        Unsearched(
            family=Family.LOUDSPEAKER,
            thing=str(network),
            what=Text("mạng công cộng: không tự ý hỏi máy của người khác", "a public network: left alone unless named"),
            remedy=Text("nếu đúng là mạng của thôn, nêu --network", "if it is the hamlet's own, name it: --network"),
        )
        for network in places.public
    ]  # fmt: skip


def _failed(error: OSError) -> Unsearched:
    return Unsearched(
        family=Family.LOUDSPEAKER,
        thing="SIP",
        what=Text("không gửi được câu hỏi SIP", "SIP could not be asked"),
        remedy=Text(
            "kiểm tra dây mạng và tường lửa (UDP 5060), rồi chạy lại",
            "check the cable and the firewall (UDP 5060), then search again",
        ),
        detail=shown_text(str(error)),
    )
