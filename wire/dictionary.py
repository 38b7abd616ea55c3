"""The preset dictionary that batch bodies are deflated with: what every body says, so that none has to spell it out.

Part of the batch format: deflate refers back into these exact bytes (RFC 1950, section 2.2), and a changed byte makes
old batches unreadable. Never edit it once a gateway is in the field; a better one is a new payload type. Decision 003
shows what it saves.

First a few words that are seldom needed, then a whole body as a hamlet's gateway would seal it, its secrets zeroed:
deflate spends fewest bits on what stood last, and a body shows how keys, streams and numbers follow each other.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_WORDS: Final = (
    "redecode clock_step configuration boot stop start gap gnss rtc none reason radio power unknown evicted damaged "
    "origin size root oxidation_reduction_potential mV conductivity_temperature oxygen_temperature ph_temperature "
    "water_level water_pressure bar rain_amount wind_speed m/s residual_chlorine milesight/em310-udl "
    "milesight/em400-udl milesight/em500-swl milesight/uc300 dragino/ps-lb dragino/rs485-lb decentlab/dl-pr36ctd "
    "decentlab/dl-pheht decentlab/dl-optod decentlab/dl-ntu lorawan: 24e124 a84041 70b3d5 "
)
_QUANTITIES: Final = [
    ["ph", "[pH]", 2],
    ["dissolved_oxygen", "mg/L", 2],
    ["external_temperature", "Cel", 1],
    ["salinity", "[ppth]", 1],
    ["turbidity", "{NTU}", 1],
    ["air_temperature", "Cel", 0],
    ["water_depth", "mm", 0],
    ["water_temperature", "Cel", 1],
    ["electrical_conductivity", "uS/cm", 0],
    ["battery_voltage", "V", 3],
    ["valid_samples", "{count}", 0],
    ["battery_level", "%", 0],
    ["water_distance", "mm", 0],
]
_CODECS: Final = [
    "dragino/wqs-lb-v1.0",
    "dragino/wqs-lb-v1.2",
    "dragino/wqs-lb-v1.3.1",
    "decentlab/dl-ctd10",
    "decentlab/dl-mbx",
    "dragino/ldds75",
    "milesight/em500-udl",
]


def _stream(codec: int, shape: int, f_port: int) -> list[Any]:
    return [bytes(8), "", 1, codec, shape, bytes(4), f_port]


_READINGS: Final = {
    "n": 50,
    "base": 1_790_000_000_000,
    "mono": 300_000_000,
    "stream": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    "at": [0, 8000, 4096, 33000, 66000, 16000, 24000, 40000, 12000, 70000, 36000],
    "lag": [256, 220, 230, 240, 210, 250, 260, 270, 280, 290, 300, 225, 235, 245, 215, 255],
    "drift": 0,
    "raw": bytes.fromhex("01756403820d0a00000000000102012f00030000000a0bb10207d9000380008081000000000c60"),
    "raw_len": [7, 8, 11, 15, 7, 8, 11, 14, 15, 7, 8, 11, 7, 15, 8, 11, 7, 15, 14, 8],
    "values": [3000, 100, 2900, 290, 3300, 2850, 3021, 8, 3524, 4200, 63, 2664, 512, 755, 287],
    "quality": [[1, 16]],
    "undecoded": [],
    "warnings": [],
    "urgent": [],
    "f_cnt": [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    "dr": 5,
    "rssi": [-97, -120, -110, -105, -109, -98, -116, -107, -114, -112, -108, -99, -115, -113, -96, -100, -103, -117],
    "snr": [1200, -400, 650, 1075, 625, 575, 50, 950, 300, 475, 1025, 1125, 375, 100, 225, 775, 525, -200, 9, 5, -3],
    "snr_decimals": 2,
    "heard_by": [1, 1, 1, 2, 1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1],
    "lora_gw": [0, 1, 0, 1, 2, 2, 1, 2, 1, 0, 0, 2, 0],
    "freq": [0, 1, 2, 3, 4, 5, 6, 7, 7, 2, 4, 5, 6, 1, 3, 0],
    "streams": [
        *[_stream(codec, shape, 2) for codec, shape in ((0, 0), (1, 1), (2, 2), (5, 4), (3, 3), (4, 5))],
        *[_stream(0, 0, 85), _stream(1, 1, 1), _stream(2, 2, 1), _stream(0, 0, 85), _stream(0, 0, 85)],
    ],
    "codecs": [[name, bytes(8)] for name in _CODECS],
    "quantities": _QUANTITIES,
    "shapes": [[7, 4, 9, 5], [0, 10, 5], [7, 8, 9, 5], [2, 3, 4, 5], [0, 6, 5], [5], [0, 1]],
    "lora_gws": [bytes(8), bytes(8)],
    "freqs": [921_400_000 + step * 200_000 for step in range(8)],
}
_BODY: Final = {
    "v": 1,
    "gw": "gw-",
    "epoch": bytes(8),
    "seq": 1000,
    "prev": bytes(32),
    "from": 1_790_000_000_000,
    "to": 1_790_000_060_000,
    "boot": "0" * 16,
    "clock": {"state": "ntp", "error_ms": None, "synced_at_ms": 0},
    "sw": {"version": "0.1.0", "codecs": "0" * 16, "config": "0" * 16},
    "due": [list(range(18)), [1, 1, 1, 0, 1, 1], 1, 0, []],
    "r": _READINGS,
    "ev": [],
    "seen": None,
}

BATCH_DICTIONARY: Final = _WORDS.encode() + msgspec.msgpack.encode(_BODY)
