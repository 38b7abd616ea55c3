"""Where on the network is searched: our own addresses for questions to all, networks for questions to each host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from gateway.probes.network.rtnetlink import Link

LONGEST_PREFIX_UNASKED: Final = 22
MOST_HOSTS: Final = 4096  # of a network that is named: what is larger is no hamlet's


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`own` are addresses of ours to ask from, with the name of their interface. `networks` are asked host by host.

    `local` are the networks that `own` are in. `too_large` and `public` are networks of ours that nobody has named and
    that are therefore left out.
    """

    own: tuple[tuple[str, IPv4Address], ...] = ()
    local: tuple[IPv4Network, ...] = ()
    networks: tuple[IPv4Network, ...] = ()
    too_large: tuple[IPv4Network, ...] = ()
    public: tuple[IPv4Network, ...] = ()

    def hosts(self) -> list[IPv4Address]:
        """Return every host to ask, each once, without ourselves unless a network of one host was named."""
        ours = {address for _, address in self.own}
        found: dict[IPv4Address, None] = {}
        for network in self.networks:
            only_one = network.num_addresses == 1
            found |= dict.fromkeys(host for host in network.hosts() if only_one or host not in ours)
        return list(found)


def places_of(
    addresses: Iterable[tuple[Link, IPv4Interface]], interfaces: Sequence[str], networks: Sequence[IPv4Network]
) -> Places:
    """Choose from our own addresses. `interfaces` are names or addresses; where there are none, every one counts that
    is up, has neighbours and is not loopback. `networks` replace those of the interfaces.
    """
    if interfaces:
        chosen = [(link, own) for link, own in addresses if {link.name, str(own.ip)} & set(interfaces)]
    else:
        chosen = [(link, own) for link, own in addresses if _is_local(link)]
    asked: list[IPv4Network] = []
    too_large: list[IPv4Network] = []
    public: list[IPv4Network] = []
    for _, own in chosen if not networks else ():
        if own.network.prefixlen < LONGEST_PREFIX_UNASKED:
            too_large.append(own.network)
        elif own.network.is_private:
            asked.append(own.network)
        else:
            public.append(own.network)
    return Places(
        own=tuple((link.name, own.ip) for link, own in chosen),
        local=tuple(own.network for _, own in chosen),
        networks=tuple(dict.fromkeys([*networks, *asked])),
        too_large=tuple(dict.fromkeys(too_large)),
        public=tuple(dict.fromkeys(public)),
    )


def _is_local(link: Link) -> bool:
    """Leave out what leads away: a tunnel, ppp, a modem's raw-IP interface. Asking there costs a SIM its data."""
    return link.up and link.carrier and link.neighbours and not link.loopback
