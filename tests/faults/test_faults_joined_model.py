"""Delivery and ingest joined in memory: a real spool and window, the hub's own decisions, and a line that loses,
repeats, reorders and cuts.

No socket and no database: the hub here is a dictionary that believes only `admit`, `judge`, `advance` and `holes`.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.delivery.window import DeliveryWindow, Verdict
from gateway.spool.store import SpoolFile
from hub.ingest.admit import Refused, admit
from hub.store.admission import Admitted, Chain, Held, Key, judge
from hub.store.deliveries import advance
from tests.faults.harness import Case, trials
from tests.gateway.gateway_readings import GATEWAY, START_MS, reading, seal_one
from wire.ack import Ack, AckError, Anchor, holes, open_ack, seal_ack
from wire.batch import GAP, Gap
from wire.identity import Epoch, GatewayId
from wire.keys import PublicKey, SigningKey, Verifier
from wire.topics import Subject, Topic

GATEWAY_KEY, HUB_KEY = SigningKey.generate(), SigningKey.generate()
MEMORY = Path("/dev/shm")  # the card is not what is asked here
UP = str(Topic(GATEWAY, Subject.BATCH))


@dataclass(slots=True)
class MemoryHub:
    """What the hub decides, over a dictionary."""

    incarnation: int = 1
    held: dict[Key, Held] = field(default_factory=dict)
    stored: list[Key] = field(default_factory=list)
    readings: list[int] = field(default_factory=list)
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    refused: int = 0

    def take(self, envelope: bytes) -> None:
        """Judge one message and store what is new of it."""
        verdict = admit(UP, envelope, verifiers())
        if isinstance(verdict, Refused):
            self.refused += 1
            return
        judged = judge([verdict], self.held, keys())
        for at, chain in judged.new:
            assert at == 0
            self._store(verdict, chain)
        for key, chain in judged.relinked:
            was = self.held[key]
            self.held[key] = Held(payload_sha256=was.payload_sha256, prev_sha256=was.prev_sha256, chain=chain)

    def _store(self, one: Admitted, chain: Chain) -> None:
        self.held[one.key] = Held(payload_sha256=one.batch.payload_sha256, prev_sha256=one.batch.body.prev, chain=chain)
        self.stored.append(one.key)
        self.readings += [each.frame.observed_at_ms for each in one.batch.readings()]
        for event in one.batch.body.ev:
            if event.name == GAP:
                gap = Gap.of(event)
                self.gaps.append((gap.epoch, gap.first, gap.last))

    def acknowledge(self, epoch: Epoch) -> bytes:
        """Say how far an epoch has come, signed."""
        mine = {seq: held for (_, of, seq), held in self.held.items() if of == epoch}
        above = [-seq if mine[seq].chain is Chain.BROKEN else seq for seq in sorted(mine)]
        accounted = sorted((first, last) for of, first, last in self.gaps if of == str(epoch))
        through, passed = advance(0, above, accounted)
        missing, highest = holes(
            through, [abs(seq) for seq in above[passed:]], [a for a in accounted if a[1] > through]
        )
        below = [seq for seq in mine if seq <= through]
        anchor = Anchor(max(below), mine[max(below)].payload_sha256.hex()) if below else None
        broken = through + 1 if -(through + 1) in above else 0
        ack = Ack(
            gateway=GATEWAY, incarnation=self.incarnation, epoch=epoch, through=through, highest=highest,
            missing=missing, anchor=anchor, broken=broken,
        )  # fmt: skip
        return seal_ack(ack, HUB_KEY)


def verifiers() -> dict[GatewayId, Verifier]:
    return {GATEWAY: GATEWAY_KEY.public.verifier()}


def keys() -> dict[GatewayId, PublicKey]:
    return {GATEWAY: GATEWAY_KEY.public}


class Joined(RuleBasedStateMachine):
    """One gateway and one hub, with the worst line between them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.hub = MemoryHub()
        self.backup = MemoryHub()
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.produced: list[int] = []
        self.now = 0.0

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.folder)

    @initialize()
    def start(self) -> None:
        self.file = SpoolFile(self.folder / "spool.db", GATEWAY, GATEWAY_KEY)
        self.file.open()
        self.adopt()

    def adopt(self) -> None:
        """Begin delivery from what the spool says, as a start does."""
        position = self.file.position()
        self.window = DeliveryWindow(
            epoch=position.epoch, through=position.through, highest=position.last_seq,
            incarnation=position.incarnation, size=4, resend_s=1.0,
        )  # fmt: skip

    @rule(readings=st.integers(0, 3), urgent=st.booleans())
    def seal(self, readings: int, urgent: bool) -> None:
        numbers = range(len(self.produced), len(self.produced) + readings)
        fresh = [reading(number, urgent=urgent) for number in numbers]
        self.file.append(fresh)
        self.produced += [one.frame.observed_at_ms for one in fresh]
        self.window.seal(seal_one(self.file, GATEWAY_KEY).seq, urgent=urgent)

    @rule(copies=st.integers(0, 2), cut=st.one_of(st.none(), st.integers(0, 400)))
    def send(self, copies: int, cut: int | None) -> None:
        """One batch goes out; the line loses it, doubles it, or cuts it."""
        seq = self.window.next(self.now)
        if seq is not None:
            self.put(seq, copies, cut)

    def put(self, seq: int, copies: int, cut: int | None) -> None:
        envelope = self.file.envelope(seq, self.window.epoch)
        if envelope is None:
            self.window.drop(seq, self.file.note_expired(seq, self.window.epoch, START_MS))
        else:
            self.up += [envelope if cut is None else envelope[:cut]] * copies

    @rule(at=st.integers(0, 100))
    def arrive(self, at: int) -> None:
        if self.up:
            self.hub.take(self.up.pop(at % len(self.up)))

    @rule(copies=st.integers(0, 2))
    def acknowledge(self, copies: int) -> None:
        self.down += [self.hub.acknowledge(self.window.epoch)] * copies

    @rule(at=st.integers(0, 100), cut=st.one_of(st.none(), st.integers(0, 200)))
    def hear(self, at: int, cut: int | None) -> None:
        if not self.down:
            return
        message = self.down.pop(at % len(self.down))
        try:
            ack = open_ack(message if cut is None else message[:cut], GATEWAY, HUB_KEY.public.verifier())
        except AckError:
            return
        self.believe(ack)

    def believe(self, ack: Ack) -> None:
        ours = self.file.payload_sha256(ack.anchor.seq, ack.epoch) if ack.anchor is not None else None
        verdict = self.window.acknowledge(ack, self.now, ours)
        assert verdict is not Verdict.FORK, "there is one writer"
        if verdict is Verdict.ACCEPTED:
            self.file.confirm(ack, ack.anchor.seq if ack.anchor is not None and ours is not None else 0)

    @rule(seconds=st.floats(0, 120))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reconnect(self) -> None:
        self.up.clear()
        self.window.reconnect()

    @rule()
    def crash(self) -> None:
        """Power goes, and comes back."""
        self.file.close()
        self.file.open()
        self.adopt()

    @rule()
    def trim(self) -> None:
        """Let everything go that may ever go."""
        self.file.trim(2 * START_MS, 0)

    @rule()
    def back_up(self) -> None:
        hub = self.hub
        self.backup = MemoryHub(hub.incarnation, dict(hub.held), [*hub.stored], [*hub.readings], [*hub.gaps], 0)

    @rule()
    def restore(self) -> None:
        """The hub is an older copy of itself, and knows it."""
        then, life = self.backup, self.hub.incarnation + 1
        self.hub = MemoryHub(life, dict(then.held), [*then.stored], [*then.readings], [*then.gaps], 0)
        self.backup.incarnation = life

    @invariant()
    def nothing_is_stored_twice_or_invented(self) -> None:
        assert len(self.hub.stored) == len(set(self.hub.stored))
        assert len(self.hub.readings) == len(set(self.hub.readings))
        assert set(self.hub.readings) <= set(self.produced)

    def drain(self) -> None:
        """A quiet hour on a good line: then everything is stored, or accounted for."""
        for _ in range(400):
            self.now += 100.0
            seq = self.window.next(self.now)
            if seq is not None:
                self.put(seq, 1, None)
            for message in self.up:
                self.hub.take(message)
            self.up.clear()
            self.believe(open_ack(self.hub.acknowledge(self.window.epoch), GATEWAY, HUB_KEY.public.verifier()))
            if self.file.head(1).events:
                self.window.seal(seal_one(self.file, GATEWAY_KEY).seq)
            elif self.window.through == self.window.highest:
                break
        assert self.window.through == self.window.highest, "delivery stands still"
        gone = sum(last - first + 1 for _, first, last in set(self.hub.gaps))
        assert len(self.hub.stored) + gone >= self.window.highest, "a number has neither a batch nor a gap record"
        if not self.hub.gaps:
            assert set(self.hub.readings) == set(self.produced), "readings are lost"


class Drained(Joined):
    """The same, drained at its end."""

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            super().teardown()


def run(machine: type[RuleBasedStateMachine], examples: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    how = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=checks,
        phases=[Phase.explicit, Phase.generate],  # a seed replays; shrinking would take minutes of every failure
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=how)


def test_whatever_the_line_does_everything_is_stored_once_or_accounted_for() -> None:
    case = Case(id="I2-joined", seed=0, trials=trials(25))
    run(Drained, case.trials)
    case.close()


def test_the_model_notices_a_window_that_takes_a_gap_for_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `missing`, what the line lost below the highest is never sent again."""
    monkeypatch.setattr(DeliveryWindow, "_is_stored", lambda self, seq: seq <= max(self.through, self._hub_highest))
    with pytest.raises(AssertionError):
        run(Drained, 60)


def test_the_model_notices_a_hub_whose_watermark_passes_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(through: int, above: list[int], accounted: object = ()) -> tuple[int, int]:
        return (max(map(abs, above)), len(above)) if above else (through, 0)

    monkeypatch.setitem(globals(), "advance", hasty)
    with pytest.raises(AssertionError):
        run(Drained, 60)
