"""What an installer says of them: [[serial_bus]]. `samples/gateway.toml` explains every key."""

from __future__ import annotations

from typing import Literal

import msgspec

Protocol = Literal["modbus-rtu", "sdi-12", "nmea", "gnss"]


class SerialInstrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[serial_bus.instrument]]: one instrument. `every_s` and `timeout_s` are the bus's where they are 0.

    `address` is "1" to "247" with Modbus, one of 0-9, A-Z, a-z with SDI-12, the talker (such as "YX", "" for any) with
    NMEA. `map` is the path of a file that ends in .toml, or the name of one in the library's `instruments/`.
    """

    name: str
    map: str
    address: str = ""
    every_s: float = 0.0
    timeout_s: float = 0.0


class SerialBus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[serial_bus]]: one serial port and the instruments on it. A GNSS receiver is a bus without instruments."""

    name: str
    port: str = ""
    protocol: Protocol = "modbus-rtu"
    baud: int = 9600
    data_bits: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    every_s: float = 300.0
    timeout_s: float = 1.0
    late_s: float = 0.5
    retries: int = 1
    measure_s: float = 60.0
    skew_s: float = 5.0
    instrument: list[SerialInstrument] = []
