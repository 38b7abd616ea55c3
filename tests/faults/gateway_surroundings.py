"""Everything around one gateway, in one thread: the broker that ChirpStack publishes to, the hub's broker, the hub.

A real broker keeps to itself which uplinks the gateway has acknowledged. This one writes each PUBACK into the oracle
before it reads on, so that the promise is known at any moment of a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.flood import Uplink
from bench.uplinks import Key, Load, hamlet, render, render_with_alarms
from tests.faults.gateway_bed import Bed
from tests.faults.harness import Oracle, poll
from tests.wire.fake_broker import (
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    Caller,
    connack,
    message,
    packet,
    suback,
)
from wire.ack import Ack, Anchor, holes, seal_ack
from wire.batch import Batch, Event, open_batch
from wire.identity import Epoch
from wire.keys import SigningKey
from wire.topics import Subject, Topic

_MOST = 6_000
_PACKET_IDS = 60_000
_IN_FLIGHT = 400
_TICK_S = 0.01
_DUP = 0x08
Stored = Mapping[tuple[Epoch, int], Batch]


@functools.cache
def uplinks(*, alarms: bool = True) -> Load:
    """Uplinks of the simulated hamlet, each tenth an alarm or none; written out once a run."""
    return render_with_alarms(_MOST) if alarms else render(_MOST)


@dataclass(frozen=True, slots=True)
class Word:
    """What was known at one moment: what the gateway had acknowledged, and what the hub held of it."""

    promised: frozenset[Key]
    stored: Stored


class Surroundings:
    """Runs while the context is open. `per_s` uplinks arrive for the gateway, also while it is away."""

    def __init__(self, *, per_s: float = 0.0, alarms: bool = True) -> None:
        self.village, self.per_s = hamlet(), per_s
        self.key, self.hub_key = SigningKey.generate(), SigningKey.generate()
        self.oracle: Oracle[Key] = Oracle()
        self.promised_at: dict[Key, float] = {}
        self.acknowledges = True
        self.stored: dict[tuple[Epoch, int], Batch] = {}
        self.stored_at: dict[Key, float] = {}
        self.conflicts = 0
        self.port = 0
        self._verifier = self.key.public.verifier()
        self._lock = threading.Lock()
        self._source: Iterator[tuple[Uplink, Key]] = iter(
            zip(uplinks(alarms=alarms).uplinks, uplinks(alarms=alarms).keys, strict=True)
        )
        self._waiting: list[tuple[Uplink, Key]] = []
        self._in_flight: dict[int, tuple[Uplink, Key]] = {}
        self._mid = 0
        self._session: Caller | None = None
        self._said: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    # ---- from the test's thread

    def __enter__(self) -> Surroundings:
        self._thread.start()
        assert self._listening.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)
        self._loop.close()

    @property
    def log(self) -> str:
        """One line for each subscription, in Mosquitto's words: `Bed` waits for them."""
        return "\n".join(self._said)

    def word(self) -> Word:
        """Return what is promised and what is at the hub now."""
        with self._lock:
            return Word(frozenset(self.oracle.promised), dict(self.stored))

    def burst(self, count: int) -> list[Key]:
        """Let so many uplinks arrive at once; returns their keys."""
        with self._lock:
            return [key for _, key in self._arrive(count)]

    def rubbish(self) -> None:
        """Publish what is no event of ChirpStack's: it is kept raw, and a line in the log says so."""
        with self._lock:
            self._waiting.append((Uplink(topic="application/1/device/x/event/up", payload=b"rubbish"), ("rubbish", -1)))

    def at_hub(self) -> list[Key]:
        """Every uplink at the hub, once for each batch that holds it."""
        return [key for batch in self.word().stored.values() for key in keys_of(batch)]

    def events(self, name: str) -> list[Event]:
        """Every event of that name that the hub has heard, in order of sealing."""
        return [event for batch in self.word().stored.values() for event in batch.body.ev if event.name == name]

    def bed(self, folder: Path, extra_toml: str, card: Path | None = None) -> Bed:
        """Return a gateway that stands in here, not started."""
        return Bed(folder, self, extra_toml, self.village, self.hub_key, card, key=self.key)

    def wait_for_promises(self, count: int, deadline_s: float = 60.0) -> None:
        """Wait until the gateway has acknowledged so many uplinks."""
        poll(f"{count} promises", lambda: len(self.oracle.promised) >= count, deadline_s=deadline_s)

    def wait_until_all_is_promised(self, deadline_s: float = 60.0) -> None:
        """Wait until the gateway has acknowledged whatever came."""
        poll("every promise", lambda: self.word().promised >= self.oracle.produced, deadline_s=deadline_s)

    def wait_for_batches(self, count: int, deadline_s: float = 60.0) -> None:
        """Wait until the hub has so many batches."""
        poll(f"{count} batches", lambda: len(self.stored) >= count, deadline_s=deadline_s)

    def wait_until_at_hub(self, keys: Collection[Key], deadline_s: float = 60.0) -> None:
        """Wait until the hub has these."""
        poll("them at the hub", lambda: set(self.at_hub()) >= set(keys), deadline_s=deadline_s)

    # ---- the thread's own

    async def _run(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._greet, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        feeding = asyncio.create_task(self._feed())
        self._listening.set()
        await self._over.wait()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        assert feeding.cancelled(), feeding.exception()

    def _arrive(self, count: int) -> list[tuple[Uplink, Key]]:
        fresh = [next(self._source) for _ in range(count)]
        self._waiting += fresh
        self.oracle.produce(*(key for _, key in fresh))
        return fresh

    async def _feed(self) -> None:
        owed = 0.0
        while True:
            owed += self.per_s * _TICK_S
            with self._lock:
                self._arrive(int(owed))
                owed -= int(owed)
            session = self._session
            if session is not None:
                with contextlib.suppress(ConnectionError):
                    await self._send(session)
            await asyncio.sleep(_TICK_S)

    async def _send(self, session: Caller) -> None:
        while self._waiting and len(self._in_flight) < _IN_FLIGHT:
            with self._lock:
                one = self._waiting.pop(0)
            self._mid = self._mid % _PACKET_IDS + 1
            self._in_flight[self._mid] = one
            await session.say(message(one[0].topic, one[0].payload, self._mid))

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = Caller(reader, writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(caller)
        finally:
            if self._session is caller:
                self._session = None
            writer.close()

    async def _serve(self, caller: Caller) -> None:
        name = ""
        while True:
            kind, body = await caller.packet()
            if kind == CONNECT:
                name = _client_id(body)
                await caller.say(connack())
            elif kind == SUBSCRIBE:
                await caller.say(suback(body[:2]))
                self._said.append(f"Sending SUBACK to {name}")
                if name == f"xom-{self.village.gateway_id}":  # not the listener to concentrators, nor the hub's side
                    await self._resume(caller)
            elif kind == PUBACK and caller is self._session:
                self._promise(int.from_bytes(body[:2]))
            elif kind == PINGREQ:
                await caller.say(b"\xd0\x00")
            elif kind == PUBLISH:
                await self._take(caller, body)
            elif kind == DISCONNECT:
                return

    async def _resume(self, caller: Caller) -> None:
        """What was not acknowledged comes again, in order (MQTT 5, 4.4)."""
        for mid, (uplink, _) in list(self._in_flight.items()):
            again = message(uplink.topic, uplink.payload, mid)
            await caller.say(bytes([again[0] | _DUP]) + again[1:])
        self._session = caller

    def _promise(self, mid: int) -> None:
        with self._lock:
            _, key = self._in_flight.pop(mid)
            if key[1] < 0:
                return
            self.oracle.promise(key)
            self.promised_at[key] = time.monotonic()

    async def _take(self, caller: Caller, body: bytes) -> None:
        at = 2 + int.from_bytes(body[:2])
        topic, mid, payload = body[2:at].decode(), body[at : at + 2], body[at + 3 + body[at + 2] :]
        await caller.say(packet(PUBACK, mid))
        if topic == str(Topic(self.village.gateway_id, Subject.BATCH)):
            batch = self._store(payload)
            if self.acknowledges:
                ack = seal_ack(self._acknowledgement(batch.epoch), self.hub_key)
                await caller.say(message(str(Topic(self.village.gateway_id, Subject.ACK)), ack, 60_001))

    def _store(self, envelope: bytes) -> Batch:
        batch = open_batch(envelope, self._verifier)
        with self._lock:
            known = self.stored.setdefault((batch.epoch, batch.seq), batch)
            self.conflicts += known.payload_sha256 != batch.payload_sha256
            for key in keys_of(batch):
                self.stored_at.setdefault(key, time.monotonic())
        return batch

    def _acknowledgement(self, epoch: Epoch) -> Ack:
        seqs = sorted(seq for of, seq in self.stored if of == epoch)
        through = next((at for at, seq in enumerate(seqs) if seq != at + 1), len(seqs))
        missing, highest = holes(through, seqs[through:])
        anchor = Anchor(through, self.stored[epoch, through].payload_sha256.hex()) if through else None
        return Ack(
            gateway=self.village.gateway_id, incarnation=1, epoch=epoch,
            through=through, highest=highest, missing=missing, anchor=anchor,
        )  # fmt: skip


def keys_of(batch: Batch) -> list[Key]:
    """Return what names the uplinks in a batch."""
    readings = batch.readings()
    return [(one.frame.source.partition(":")[2], one.frame.link.f_cnt) for one in readings if one.frame.link]


def twice(keys: list[Key]) -> set[Key]:
    """Return what is there more than once."""
    return {key for key, times in Counter(keys).items() if times > 1}


def _client_id(body: bytes) -> str:
    at = 10  # name, version, flags, keep-alive (MQTT 5, 3.1.2)
    size = body[at]  # our client's properties are shorter than 128 bytes
    at += 1 + size
    length = int.from_bytes(body[at : at + 2])
    return body[at + 2 : at + 2 + length].decode()
