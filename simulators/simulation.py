"""A commune that lives: frames in order of publication, minute by minute, with the truth kept beside them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simulators.chirpstack import Ack, Event, Join, Log, Status, Up, topic_of, write_json, write_protobuf
from simulators.commune import Commune
from simulators.devices import Encoded
from simulators.faults import DeviceFault, Fate, Faults
from simulators.node import Node
from simulators.oracle import Ledger, Oracle, UplinkTruth
from simulators.tide import Surge, Tide
from simulators.water import River
from wire.identity import DevEui, GatewayId

_STEP_MS: Final = 10 * 60_000
_NANO_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One event on its way to a gateway's broker.

    `truth` is present on uplinks only; `repeated` marks the second publication of an uplink, byte-identical.
    """

    gateway: GatewayId
    publish_at_ms: int
    event: Event
    truth: UplinkTruth | None = None
    repeated: bool = False

    @property
    def topic(self) -> str:
        """The MQTT topic."""
        return topic_of(self.event)

    def payload(self, *, protobuf: bool = False) -> bytes:
        """The MQTT payload, written when asked for."""
        return write_protobuf(self.event) if protobuf else write_json(self.event)


class Simulation:
    """A commune driven by whoever calls `advance`. Same commune, faults, start and calls: same bytes.

    Memory grows with the oracle (about 1 kB a frame); long runs fetch it with `take_oracle`.
    """

    def __init__(
        self,
        commune: Commune,
        faults: Faults,
        start_ms: int,
        *,
        gateways: frozenset[str] | None = None,
        surge_bound_m: float = 0.25,
        water_raised_m: float = 0.0,
    ) -> None:
        """Only the devices of `gateways` live (all when None); raise the water to make a flood."""
        self.now_ms = start_ms
        surge = Surge.seeded(commune.seed, bound_m=surge_bound_m, raised_m=water_raised_m)
        self.river = River(tide=Tide(), surge=surge)
        self._nodes = [
            Node(commune, gateway, device, self.river, faults)
            for gateway, device in commune.devices()
            if gateways is None or gateway.gateway_id in gateways
        ]
        self._ledgers = {node.gateway_id: Ledger(gateway=node.gateway_id) for node in self._nodes}
        self._due = [(node.start(start_ms), index) for index, node in enumerate(self._nodes)]
        heapq.heapify(self._due)
        self._pending: list[tuple[int, int, Published]] = []
        self._sequence = 0

    def advance(self, until_ms: int) -> list[Published]:
        """Everything published in [now, until), in order; moves `now_ms`. Going back gives nothing."""
        while self._due and self._due[0][0] < until_ms:
            at_ms, index = self._due[0]
            node = self._nodes[index]
            self._send(node, at_ms)
            heapq.heapreplace(self._due, (node.next_due_ms(at_ms), index))
        self.now_ms = max(self.now_ms, until_ms)
        return self._release(until_ms)

    def drain(self) -> list[Published]:
        """Publish what is still in flight (late frames, duplicates), however late; no new frame is sent."""
        return self._release(None)

    def oracle(self) -> Oracle:
        """The truth so far (since the last `take_oracle`)."""
        return Oracle(gateways={name: ledger.snapshot() for name, ledger in self._ledgers.items()})

    def take_oracle(self) -> Oracle:
        """The truth so far, then forget it, so that a long run keeps flat memory."""
        taken = self.oracle()
        for ledger in self._ledgers.values():
            ledger.clear()
        return taken

    def break_device(self, dev_eui: DevEui, *faults: DeviceFault) -> None:
        """Make a device show these faults on every frame until repaired; KeyError if it is not here."""
        self._node(dev_eui).forced = frozenset(faults)

    def silence_device(self, dev_eui: DevEui) -> None:
        """Lose every frame of a device on air until repaired; KeyError if it does not live here."""
        self._node(dev_eui).silenced = True

    def repair_device(self, dev_eui: DevEui) -> None:
        """Undo `break_device` and `silence_device`; KeyError if it does not live here."""
        node = self._node(dev_eui)
        node.forced, node.silenced = frozenset(), False

    def _node(self, dev_eui: DevEui) -> Node:
        for node in self._nodes:
            if node.spec.dev_eui == dev_eui:
                return node
        raise KeyError(dev_eui)

    def _send(self, node: Node, at_ms: int) -> None:
        """One frame leaves a device: it is counted, then lost on air or published."""
        fate = node.fate()
        if fate.rejoins:
            node.join()
        encoded = node.encode(at_ms, fate)
        f_cnt = node.count()
        if fate.lost or node.silenced:
            self._ledgers[node.gateway_id].lost.append(_truth(node, f_cnt, at_ms, encoded, ""))
            return
        self._publish(node, f_cnt, at_ms, encoded, fate)

    def _publish(self, node: Node, f_cnt: int, at_ms: int, encoded: Encoded, fate: Fate) -> None:
        """Queue the uplink with the join before it and the status, ack and log that go with it."""
        own_ms = at_ms + node.network_delay_ms() + fate.late_by_ms
        # A server that checks counters (skip_fcnt_check=false) never publishes a device's frames out of
        # order.
        publish_ms = node.last_publish_ms = max(own_ms, node.last_publish_ms + 1)
        up = _uplink(node, f_cnt, at_ms, publish_ms, encoded)
        if node.join_unreported:
            node.join_unreported = False
            self._queue(node, publish_ms, _join(node, at_ms))
        truth = _truth(node, f_cnt, at_ms, encoded, up.deduplication_id)
        self._ledgers[node.gateway_id].in_flight += 1
        self._queue(node, publish_ms, up, truth)
        for event in _companions(node, at_ms, fate):
            self._queue(node, publish_ms, event)
        if fate.repeated_after_ms is not None:
            self._queue(node, publish_ms + fate.repeated_after_ms, up, truth, repeated=True)

    def _queue(
        self,
        node: Node,
        at_ms: int,
        event: Event,
        truth: UplinkTruth | None = None,
        *,
        repeated: bool = False,
    ) -> None:
        published = Published(gateway=node.gateway_id, publish_at_ms=at_ms, event=event, truth=truth, repeated=repeated)
        self._sequence += 1  # keeps the order of events of one millisecond
        heapq.heappush(self._pending, (at_ms, self._sequence, published))

    def _release(self, until_ms: int | None) -> list[Published]:
        released = []
        while self._pending and (until_ms is None or self._pending[0][0] < until_ms):
            published = heapq.heappop(self._pending)[2]
            self._settle(published)
            released.append(published)
        return released

    def _settle(self, published: Published) -> None:
        """Enter a publication into the books."""
        if published.truth is None:
            return
        ledger = self._ledgers[published.gateway]
        if published.repeated:
            ledger.duplicates.append(published.truth.deduplication_id)
        else:
            ledger.in_flight -= 1
            ledger.published.append(published.truth)


def events(commune: Commune, faults: Faults, start_ms: int, end_ms: int) -> Iterator[Published]:
    """Every event of the frames sent in [start, end), in order of publication; late ones may pass the end."""
    yield from _run(Simulation(commune, faults, start_ms), end_ms)


def simulate(commune: Commune, faults: Faults, start_ms: int, end_ms: int) -> tuple[list[Published], Oracle]:
    """The same at once, with the truth: nothing is in flight at the end, so produced = published + lost."""
    simulation = Simulation(commune, faults, start_ms)
    published = list(_run(simulation, end_ms))
    return published, simulation.oracle()


def _run(simulation: Simulation, end_ms: int) -> Iterator[Published]:
    while simulation.now_ms < end_ms:
        yield from simulation.advance(min(simulation.now_ms + _STEP_MS, end_ms))
    yield from simulation.drain()


def _truth(node: Node, f_cnt: int, at_ms: int, encoded: Encoded, deduplication_id: str) -> UplinkTruth:
    return UplinkTruth(
        gateway=node.gateway_id,
        dev_eui=node.spec.dev_eui,
        dev_addr=node.dev_addr,
        f_cnt=f_cnt,
        observed_at_ms=at_ms,
        encoded=encoded,
        deduplication_id=deduplication_id,
    )


def _uplink(node: Node, f_cnt: int, at_ms: int, server_ms: int, encoded: Encoded) -> Up:
    rx, tx = node.receptions(at_ms, server_ms)
    return Up(
        deduplication_id=node.new_id(),
        time_ns=at_ms * _NANO_PER_MS,
        device=node.info,
        dev_addr=node.dev_addr,
        dr=node.data_rate,
        f_cnt=f_cnt,
        f_port=encoded.f_port,
        data=encoded.data,
        rx=rx,
        tx=tx,
    )


def _join(node: Node, at_ms: int) -> Join:
    return Join(
        deduplication_id=node.new_id(),
        time_ns=at_ms * _NANO_PER_MS,
        device=node.info,
        dev_addr=node.dev_addr,
    )


def _companions(node: Node, at_ms: int, fate: Fate) -> Iterator[Event]:
    """What the server publishes beside an uplink: a status and an ack a day, a log for a repeated frame."""
    at_ns = at_ms * _NANO_PER_MS
    if node.status_due(at_ms):
        battery = round(node.battery_left(at_ms) * 254) / 2.54  # DevStatusAns, LoRaWAN 1.0.4 section 5.5: 1..254
        yield Status(
            deduplication_id=node.new_id(),
            time_ns=at_ns,
            device=node.info,
            margin=10,
            battery_level=round(battery, 2),
        )
        yield _ack(node, at_ns)
    if fate.retransmitted:
        yield Log(
            time_ns=at_ns,
            device=node.info,
            level="WARNING",
            code="UPLINK_F_CNT_RETRANSMISSION",
            description="Uplink was flagged as re-transmission / frame-counter did not increment",
            context={"deduplication_id": node.new_id()},
        )


def _ack(node: Node, at_ns: int) -> Ack:
    """The confirmation of the daily (confirmed) downlink that asks the device to keep its interval."""
    ack = Ack(
        deduplication_id=node.new_id(),
        time_ns=at_ns,
        device=node.info,
        queue_item_id=node.new_id(),
        acknowledged=True,
        f_cnt_down=node.f_cnt_down,
    )
    node.f_cnt_down += 1
    return ack
