"""The preset dictionary that batch bodies are deflated with: what every body says, so that none has to spell it out.

Part of the batch format: deflate refers back into these exact bytes (RFC 1950, section 2.2), and a changed byte makes
old batches unreadable. Never edit it; a better one is a new payload type. Decision 003 shows what it saves.
"""

from __future__ import annotations

# Most frequent last: deflate spends fewer bits on near matches.
_WORDS = (
    "redecode clock_step configuration boot stop gnss rtc none reason radio power unknown origin size root "
    "turbidity [NTU] salinity g/kg oxidation_reduction_potential mV conductivity_temperature oxygen_temperature "
    "ph_temperature air_temperature water_level chlorine mg/L milesight/em310-udl milesight/em500-swl dragino/ps-lb "
    "decentlab/dl-pr36ctd decentlab/dl-pheht decentlab/dl-optod decentlab/dl-ntu dragino/wqs-lb-v1.0 "
    "dragino/wqs-lb-v1.2 "
    "dragino/wqs-lb-v1.3.1 decentlab/dl-ctd10 decentlab/dl-mbx dragino/ldds75 milesight/em500-udl "
)
_QUANTITIES = (
    ("ph", "[pH]", 2), ("dissolved_oxygen", "mg/L", 2), ("electrical_conductivity", "uS/cm", 0),
    ("water_temperature", "Cel", 1), ("water_depth", "mm", 0), ("valid_samples", "{count}", 0),
    ("battery_voltage", "V", 3), ("battery_level", "%", 0), ("water_distance", "mm", 0),
)  # fmt: skip


def _text(value: str) -> bytes:
    """Write a short string as MessagePack does (fixstr): the length must match for the text to be found."""
    return bytes([0xA0 | len(value)]) + value.encode()


def _quantity(name: str, unit: str, decimals: int) -> bytes:
    return b"\x93" + _text(name) + _text(unit) + bytes([decimals])


BATCH_DICTIONARY = b"".join(
    [
        _WORDS.encode(),
        b"".join(_quantity(*quantity) for quantity in _QUANTITIES),
        b"".join(b"\xcf\x00\x00" + b"\xce" + hz.to_bytes(4) for hz in range(921_400_000, 923_000_000, 200_000)),
        b"\xc4\x08" + bytes.fromhex("24e124") + b"\xc4\x08" + bytes.fromhex("a84041") + b"\xc4\x08",
        bytes.fromhex("70b3d5"),
        # the map's keys in the order in which the encoder writes them, with the usual values between them
        b"\x8e", _text("v"), b"\x01", _text("gw"), _text("epoch"), b"\xc4\x08", _text("seq"), b"\xcd",
        _text("prev"), b"\xc4\x20", _text("from"), b"\xcf\x00\x00\x01", _text("to"), b"\xcf\x00\x00\x01",
        _text("boot"), b"\xb0", _text("clock"), b"\x83", _text("state"), _text("ntp"), _text("error_ms"), b"\xc0",
        _text("synced_at_ms"), b"\x00", _text("sw"), b"\x83", _text("version"), _text("0.1.0"), _text("codecs"),
        b"\xb0", _text("config"), b"\xb0", _text("due"), b"\x95\xdc\x00", bytes(range(20)), b"\x01\x01\x00\x90",
        _text("r"), b"\xde\x00\x1c", _text("n"), _text("base"), b"\xcf\x00\x00\x01", _text("mono"), _text("stream"),
        b"\xdc\x00", _text("at"), b"\xdc\x00", _text("lag"), b"\xdc\x00\xcd\x01\xcd\x01", _text("drift"), b"\x00",
        _text("raw"), b"\xc5", _text("raw_len"), b"\xdc\x00", _text("values"), b"\xdc\x00", _text("quality"), b"\x90",
        _text("undecoded"), b"\x90", _text("warnings"), b"\x90", _text("urgent"), b"\x90", _text("f_cnt"), b"\xdc\x00",
        _text("dr"), b"\xdc\x00", _text("rssi"), b"\xdc\x00\xd0\x90\xd0", _text("snr"), b"\xdc\x00\xd0\x90\xd0",
        _text("snr_decimals"), b"\x01", _text("heard_by"),
        b"\x01", _text("lora_gw"), b"\x00", _text("freq"), b"\xdc\x00", _text("streams"), b"\xdc\x00\x97\xc4\x08",
        b"\xa0\x01\x00\x00\xc4\x04", _text("codecs"), b"\x91\x92", _text("quantities"), b"\x93", _text("shapes"),
        b"\x92\x00\x01\x93\x02\x00\x03", _text("lora_gws"), b"\x91\xc4\x08", _text("freqs"), b"\x98\xce\x36\xeb",
        _text("ev"), b"\x90", _text("seen"), b"\xc0",
    ]
)  # fmt: skip
