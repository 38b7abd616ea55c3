"""Every probe that a configuration asks for."""

from __future__ import annotations

from collections import Counter

from gateway.clock import Clock
from gateway.config import Config
from gateway.probes.cameras import build as cameras
from gateway.probes.credentials import CredentialError, Credentials
from gateway.probes.loudspeakers import build as loudspeakers
from gateway.probes.machine import build as machine
from gateway.probes.network import build as network
from gateway.probes.probe import Probe
from gateway.probes.serial import build as serial
from gateway.probes.setup import Setup
from wire.configuration import ConfigError


def build(config: Config, clock: Clock) -> list[Probe]:
    """Return the probes in the order of the file; raises ConfigError."""
    try:
        credentials = Credentials(config.probes.credentials)
    except CredentialError as error:
        raise ConfigError(str(error)) from error
    setup = Setup(credentials=credentials, clock=clock, data=config.gateway.data)
    probes = [
        *machine.build(config.machine, setup),
        *network.build(config.internet, config.modem, config.wifi, setup),
        *loudspeakers.build(config.loudspeaker, setup),
        *cameras.build(config.camera, setup),
        *serial.build(config.serial_bus, setup),
    ]
    twice = sorted(str(source) for source, count in Counter(one.source for one in probes).items() if count > 1)
    if twice:
        raise ConfigError(f"two probes have one name: {', '.join(twice)}; give each a name of its own")
    return probes
