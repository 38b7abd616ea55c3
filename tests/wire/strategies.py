"""Readings and drafts as hypothesis draws them: whatever a gateway may put into a batch, the odd corners included."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from wire.batch import Clock, Draft, Due, Event, Seen, Software, genesis
from wire.identity import DevEui, Epoch, GatewayId, SourceId
from wire.keys import Algorithm, SigningKey
from wire.reading import ClockState, Frame, Kind, Link, Quality, Quantity, Reading, Undecoded

LATEST_MS = 4_102_444_800_000
GATEWAY = GatewayId("thon-dong-1")
EPOCH = Epoch("00112233445566ff")
KEYS = {algorithm: SigningKey.generate(algorithm) for algorithm in Algorithm}

times_ms = st.integers(0, LATEST_MS - 1) | st.integers(1_755_000_000_000, 1_755_000_600_000)
sources = st.one_of(
    st.binary(min_size=8, max_size=8).map(lambda eui: DevEui(eui.hex()).source),
    st.sampled_from(["lorawan:a840410000000001", "camera:dinh-lang", "chirpstack:malformed", "self:pi"]).map(SourceId),
)
links = st.builds(
    Link,
    dev_addr=st.binary(min_size=4, max_size=4).map(bytes.hex) | st.just(""),
    f_cnt=st.integers(0, 2**32 - 1),
    f_port=st.integers(0, 255),
    dr=st.integers(0, 15),
    rssi_dbm=st.integers(-150, 10),
    snr_db=st.integers(-120, 60).map(lambda quarter: quarter / 4) | st.integers(-3000, 1500).map(lambda n: n / 100),
    lora_gateway=st.binary(min_size=8, max_size=8).map(bytes.hex) | st.just(""),
    heard_by=st.integers(0, 20),
    frequency_hz=st.sampled_from([0, 921_400_000, 923_000_000]) | st.integers(0, 2**32 - 1),
)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**9), 10**9).map(lambda n: n / 1000),
    st.decimals(-100, 100, places=9, allow_nan=False).map(float),
    st.integers(-(2**60), 2**60).map(float),
)
valued = st.builds(
    Quantity,
    name=st.sampled_from(["ph", "water_distance", "dissolved_oxygen", "độ_mặn"]),
    unit=st.sampled_from(["[pH]", "mm", "mg/L", "", "uS/cm"]),
    value=numbers,
    quality=st.sampled_from([quality for quality in Quality if quality.has_value]),
)
faulty = st.builds(
    Quantity,
    name=st.just("ph"),
    unit=st.just("[pH]"),
    value=st.none(),
    quality=st.sampled_from([quality for quality in Quality if not quality.has_value]),
)


@st.composite
def batches_of_readings(draw: st.DrawFn, most: int = 8) -> list[Reading]:
    """Readings of one boot and clock state, in any order of time, with clock steps between them."""
    boot = draw(st.sampled_from(["5" * 16, "", "boot"]))
    clock = draw(st.sampled_from(ClockState))
    frames = st.builds(
        Frame,
        source=sources,
        kind=st.sampled_from(Kind),
        key=st.binary(max_size=16),
        observed_at_ms=times_ms,
        received_at_ms=times_ms,
        monotonic_ms=st.integers(0, 2**45),
        boot=st.just(boot),
        clock=st.just(clock),
        raw=st.binary(max_size=40),
        link=st.none() | links,
    )
    readings = st.builds(
        Reading,
        frame=frames,
        codec=st.just("") | st.just("decentlab/dl-pheht@00112233445566ff") | st.just("a/b@ffffffffffffffff"),
        quantities=st.lists(valued | faulty, max_size=4).map(tuple),
        undecoded=st.none() | st.sampled_from(Undecoded),
        warnings=st.lists(st.text(max_size=20), max_size=2).map(tuple),
        urgent=st.booleans(),
    )
    return draw(st.lists(readings, max_size=most))


def draft(readings: list[Reading], *, seq: int = 1, prev: bytes | None = None, key: SigningKey | None = None) -> Draft:
    """Put readings into a draft with everything else filled in plainly."""
    first = readings[0].frame if readings else None
    return Draft(
        gateway=GATEWAY,
        epoch=EPOCH,
        seq=seq,
        prev=prev or genesis(GATEWAY, EPOCH, (key or KEYS[Algorithm.ED25519]).public),
        from_ms=1_755_000_000_000,
        to_ms=1_755_000_060_000,
        boot=first.boot if first else "5" * 16,
        clock=Clock(first.clock if first else ClockState.NONE),
        software=Software("0.1.0", "a" * 16, "b" * 16),
        readings=readings,
    )


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Whole drafts: dues of sources with and without readings, events, a checkpoint seen."""
    readings = draw(batches_of_readings())
    heard = [reading.frame.source for reading in readings] or [SourceId("camera:none")]
    dues = st.builds(
        Due,
        source=st.sampled_from(heard) | sources,
        expected=st.integers(0, 10_000),
        received=st.integers(0, 10_000),
        missed=st.integers(0, 10_000),
        reason=st.sampled_from(["", "radio", "power"]),
    )
    events = st.builds(
        Event, at_ms=times_ms, name=st.sampled_from(["start", "clock_step"]), detail=st.text(max_size=20)
    )
    return msgspec.structs.replace(
        draft(readings),
        seq=draw(st.integers(1, 2**62)),
        due=draw(st.lists(dues, max_size=5)),
        events=draw(st.lists(events, max_size=3)),
        seen=draw(st.none() | st.just(Seen("hub.xa-dong", 41, "aGFzaA=="))),
    )


def without_key(reading: Reading) -> Reading:
    """Return the reading as the hub sees it: the frame's key serves the gateway alone."""
    return msgspec.structs.replace(reading, frame=msgspec.structs.replace(reading.frame, key=b""))


def typical_readings(count: int = 3) -> list[Reading]:
    """A small, plain batch's readings: one sensor, one status, one frame that nobody can decode."""
    start = 1_755_000_000_000
    link = Link("26011bda", 41, 2, 2, -97, 7.25, "24e124fffef00001", 2, 923_000_000)
    plain = [
        Reading(
            Frame(
                SourceId("lorawan:a840410000000001"),
                Kind.UPLINK,
                bytes([at % 256]) * 16,
                start + 600 * at,
                start + 600 * at + 85,
                9_000 + 600 * at,
                "5" * 16,
                ClockState.NTP,
                bytes.fromhex("0d0a07e900000001"),
                msgspec.structs.replace(link, f_cnt=41 + at),
            ),
            "dragino/ldds75@0011223344556677",
            (
                Quantity("water_distance", "mm", 2025.0 + at),
                Quantity("battery_voltage", "V", 3.338),
                Quantity("water_temperature", "Cel", None, Quality.NO_SENSOR),
            ),
        )
        for at in range(count)
    ]
    status = Reading(
        Frame(
            SourceId("lorawan:a840410000000001"),
            Kind.STATUS,
            b"s" * 16,
            start,
            start,
            9_000,
            "5" * 16,
            ClockState.NTP,
            b"{}",
        ),
        quantities=(Quantity("link_margin", "dB", 12.0),),
    )
    unknown = Reading(
        Frame(
            SourceId("lorawan:24e1240000000009"),
            Kind.UPLINK,
            b"u" * 16,
            start,
            start,
            9_000,
            "5" * 16,
            ClockState.NTP,
            b"\x01\x02",
            link,
        ),
        undecoded=Undecoded.UNKNOWN_DEVICE,
        warnings=("nobody has named this device",),
    )
    return [*plain, status, unknown]
