"""One device living through time: it samples the water, counts its frames, joins, ages. No I/O, no clock."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace

from simulators import radio, water
from simulators.chirpstack import DeviceInfo, RxInfo, TxInfo
from simulators.commune import Commune, SimDevice, SimGateway
from simulators.devices import Chemistry, Encoded, Sample
from simulators.faults import DeviceFault, Fate, Faults, draw_fate
from simulators.tide import DAY_MS, waves_m
from simulators.water import River

_MILLI = 1_000_000  # nanoseconds in a millisecond
_GPS_EPOCH_MS = 315_964_800_000  # 1980-01-06T00:00Z
_LEAP_MS = 18_000  # GPS ahead of UTC since 2017
_GREETING_GAP_MS = 8_000
_BATTERY_LIFE_DAYS = 1826.0
_LOW_LEFT = 0.03


def sample_water(river: River, spec: SimDevice, at_ms: int, battery: float, rng: random.Random) -> Sample:
    """What is true at the device at one instant, noise included; `battery` is the share of charge left."""
    level = water.river_level_m(river, at_ms, spec.km) + waves_m(rng)
    lithium = spec.device.chemistry is Chemistry.LITHIUM
    dry = Sample(
        distance_mm=(spec.mount_m - level) * 1000.0,
        depth_mm=max(0.0, (level - spec.mount_m) * 1000.0),
        valid_samples=rng.choice((10, 10, 10, 9, 8)),
        battery_mv=water.lithium_mv(battery) if lithium else water.alkaline_mv(battery),
        battery_pct=battery * 100.0,
    )
    return _immersed(dry, river, spec, at_ms, rng) if spec.submerged else dry


def _immersed(dry: Sample, river: River, spec: SimDevice, at_ms: int, rng: random.Random) -> Sample:
    """Add what only a probe in the water can know."""
    salinity = max(0.0, water.salinity_g_kg(river, at_ms, spec.km) * (1.0 + rng.gauss(0.0, 0.01)))
    temperature = water.water_temperature_c(at_ms) + rng.gauss(0.0, 0.05)
    oxygen = water.dissolved_oxygen_mg_l(at_ms, salinity) + rng.gauss(0.0, 0.05)
    return replace(
        dry,
        air_temperature_c=temperature - 0.4,
        temperature_c=temperature,
        ec25_us_cm=water.ec_pss78(salinity, 25.0) * 1000.0,
        salinity_g_kg=salinity,
        do_mg_l=oxygen,
        ph=water.ph(at_ms, salinity) + rng.gauss(0.0, 0.02),
        orp_mv=water.orp_mv(oxygen),
        turbidity_ntu=water.turbidity_ntu(river, at_ms, spec.km),
    )


class Node:
    """A device with its counters and its dice. Each kind of chance has its own seeded stream."""

    def __init__(self, commune: Commune, gateway: SimGateway, spec: SimDevice, river: River, faults: Faults) -> None:
        self.gateway_id = gateway.gateway_id
        self.spec = spec
        self.info: DeviceInfo = gateway.info_of(spec)
        self.forced: frozenset[DeviceFault] = frozenset()
        self.silenced = False
        self.dev_addr = ""
        self.join_unreported = False
        self.last_publish_ms = 0
        self.f_cnt_down = 0
        self._river = river
        self._faults = faults
        self._noise, self._dice, self._air, self._clock, self._names = (
            random.Random(f"{commune.seed}:{spec.dev_eui}:{stream}")
            for stream in ("noise", "fate", "air", "clock", "names")
        )
        low = random.Random(f"{commune.seed}:{spec.dev_eui}:battery").random() < faults.low_battery
        self._standing = frozenset({DeviceFault.LOW_BATTERY}) if low else frozenset()
        self._f_cnt = 0
        self._born_ms = 0
        self._greets = False
        self._held: Sample | None = None
        self._stuck_left = 0
        self._status_day = -1
        self._links = radio.links(spec.position, gateway.concentrators, shade_db=spec.shade_db)
        self.data_rate = radio.data_rate(self._links[0], len(spec.device.encode(Sample()).data))

    def start(self, at_ms: int) -> int:
        """Switch on: join, and return the instant (ms) of the first frame, within the first interval."""
        self._born_ms = at_ms
        self.join()
        return at_ms + self._clock.randrange(self.spec.interval_s * 1000)

    def join(self) -> None:
        """A new session: new DevAddr (NetID 0: the top seven bits are 0), counters from 0, greeting due."""
        self.dev_addr = f"{self._names.getrandbits(25):08x}"
        self._f_cnt = 0
        self.f_cnt_down = 0
        self.join_unreported = True
        self._greets = self.spec.device.greet(Sample()) is not None

    def fate(self) -> Fate:
        """Throw the dice for the next frame."""
        return draw_fate(self._faults, self._dice)

    def encode(self, at_ms: int, fate: Fate) -> Encoded:
        """The next payload: the greeting if one is due, else a measurement with the faults of this frame."""
        sample = sample_water(self._river, self.spec, at_ms, self.battery_left(at_ms), self._noise)
        greeting = self.spec.device.greet(sample) if self._greets else None
        if greeting is not None:
            return greeting
        stuck = self._is_stuck(fate)
        if not stuck or self._held is None:
            self._held = sample
        shown = (fate.shown | self.forced | self._standing) - {DeviceFault.STUCK}
        if stuck:
            shown |= {DeviceFault.STUCK}
        return self.spec.device.encode(self._held.with_battery_of(sample), shown)

    def count(self) -> int:
        """The frame counter of this frame; the next one is one higher."""
        self._f_cnt += 1
        return self._f_cnt - 1

    def next_due_ms(self, at_ms: int) -> int:
        """When the next frame goes out: 8 s after a greeting, else an interval later, give or take."""
        if self._greets:
            self._greets = False
            return at_ms + _GREETING_GAP_MS
        return at_ms + self.spec.interval_s * 1000 + self._clock.randrange(-400, 400)

    def new_id(self) -> str:
        """A seeded random UUID (version 4)."""
        return str(uuid.UUID(int=self._names.getrandbits(128), version=4))

    def network_delay_ms(self) -> int:
        """From the antenna to the broker: the server waits 200 ms for copies by other concentrators."""
        return 200 + self._air.randrange(120)

    def battery_left(self, at_ms: int) -> float:
        """Share of charge left; a low battery is nearly empty whatever its age."""
        if DeviceFault.LOW_BATTERY in self._standing | self.forced:
            return _LOW_LEFT
        return water.battery_left(self.spec.age_days + (at_ms - self._born_ms) / DAY_MS, _BATTERY_LIFE_DAYS)

    def status_due(self, at_ms: int) -> bool:
        """True once a UTC day: ChirpStack asks each device for its status once a day."""
        due = at_ms // DAY_MS != self._status_day
        self._status_day = at_ms // DAY_MS
        return due

    def receptions(self, at_ms: int, server_ms: int) -> tuple[tuple[RxInfo, ...], TxInfo]:
        """How one frame was heard: observed at `at_ms`, processed by the server at `server_ms`."""
        spreading_factor = 12 - self.data_rate
        channel = self._air.randrange(len(radio.CHANNELS_HZ))
        heard = radio.hear(self._links, spreading_factor, self._air)
        rx = tuple(self._rx_info(one, at_ms, server_ms, channel) for one in heard)
        return rx, TxInfo(frequency=radio.CHANNELS_HZ[channel], spreading_factor=spreading_factor)

    def _rx_info(self, heard: radio.Heard, at_ms: int, server_ms: int, channel: int) -> RxInfo:
        place = heard.concentrator
        bits = self._names.getrandbits(94)  # uplink id, context and the nanoseconds of the server's clock
        return RxInfo(
            lora_gateway_id=place.lora_gateway_id,
            uplink_id=bits & 0xFFFFFFFF,
            gw_time_ns=at_ms * _MILLI,
            ns_time_ns=server_ms * _MILLI + (bits >> 64) % _MILLI,
            gps_time_ns=(at_ms - _GPS_EPOCH_MS + _LEAP_MS) * _MILLI,
            rssi=heard.rssi,
            snr=heard.snr,
            channel=channel,
            rf_chain=channel // 4,
            latitude=place.position.latitude,
            longitude=place.position.longitude,
            altitude=place.altitude_m,
            context=(bits >> 32 & 0xFFFFFFFF).to_bytes(4, "big"),
        )

    def _is_stuck(self, fate: Fate) -> bool:
        """True while an episode lasts (a new one extends it) or while somebody holds the sensor stuck."""
        if DeviceFault.STUCK in fate.shown:
            self._stuck_left = self._faults.stuck_frames
        stuck = self._stuck_left > 0 or DeviceFault.STUCK in self.forced
        self._stuck_left = max(0, self._stuck_left - 1)
        return stuck
