"""The spool against a small model of it: what was confirmed survives whatever is done to it, in any order."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.spool import retention
from gateway.spool.room import Room
from gateway.spool.sqlite import NotKept
from gateway.spool.store import SpoolFile
from tests.faults.harness import Case, seed, trials
from tests.faults.test_faults_gateway_damage import KEY, number_of, seal
from tests.gateway.gateway_readings import GATEWAY, confirm, reading
from wire.batch import genesis, open_batch
from wire.reading import Reading

_ROOM = Room(cap=260_000, reserve=40_000)
REACHED: Counter[str] = Counter()  # invariants checked behind an eviction, appends refused
ONLY_FIND = (Phase.generate,)  # a broken switch is to be noticed; the shortest way to it is nobody's question
_FILES = ("spool.db", "spool.db-wal", "spool.head")


def fat(number: int) -> Reading:
    return reading(number, raw=random.Random(number).randbytes(2_000), urgent=number % 11 == 0)


class SpoolModel(RuleBasedStateMachine):
    """The model is four plain values: what waits, what each batch holds, the watermark, what may be missing."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="xom-model-"))
        self.lives = 0
        self.number = 0
        self.waiting: list[int] = []
        self.batches: dict[int, list[int]] = {}
        self.hashes: list[bytes] = []
        self.through = 0
        self.file = self.opened(self.home / "0")
        self.hashes.append(genesis(GATEWAY, self.file.position().epoch, KEY.public))

    def opened(self, folder: Path) -> SpoolFile:
        folder.mkdir(exist_ok=True)
        file = SpoolFile(folder / "spool.db", GATEWAY, KEY, _ROOM)
        file.open()
        return file

    @property
    def folder(self) -> Path:
        return self.home / str(self.lives)

    # ---- what happens

    @rule(count=st.integers(1, 30))
    def append(self, count: int) -> None:
        numbers = list(range(self.number, self.number + count))
        try:
            assert self.file.append([fat(number) for number in numbers]) == count
        except NotKept:
            REACHED["refused"] += 1
            return  # nothing of it may be there
        self.number += count
        self.waiting += numbers

    @precondition(lambda self: self.number > 0)
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.number - 1))
        try:
            assert self.file.append([fat(number)]) == 0
        except NotKept:
            return

    @rule(most=st.integers(1, 30))
    def seal(self, most: int) -> None:
        seal(self.file, most)
        position = self.file.position()
        self.batches[position.last_seq], self.waiting = self.waiting[:most], self.waiting[most:]
        opened = open_batch(self.file.envelope(position.last_seq) or b"", KEY.public.verifier())
        assert opened.body.prev == self.hashes[-1], "the chain is broken"
        self.hashes.append(opened.payload_sha256)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        self.through = data.draw(st.integers(self.through, max(self.batches)))
        confirm(self.file, self.through)

    @rule()
    def trim(self) -> None:
        self.file.trim(0, 5_000)

    @rule()
    def crash(self) -> None:
        """What a power cut leaves: the files as they are, no close."""
        after = self.home / str(self.lives + 1)
        after.mkdir()
        for name in _FILES:
            shutil.copyfile(self.folder / name, after / name)
        self.file.close()
        self.lives += 1
        self.file = self.opened(after)

    @rule()
    def restart(self) -> None:
        self.file.close()
        self.file = self.opened(self.folder)

    # ---- what holds

    @invariant()
    def what_was_kept_is_there_or_accounted_for(self) -> None:
        assert [number_of(one) for one in self.file.unsealed()] == self.waiting
        REACHED["evicted"] += bool(self.file.gaps())
        told = {seq for gap in self.file.gaps() for seq in range(gap.first, gap.last + 1)}
        verifier = KEY.public.verifier()
        for seq, numbers in self.batches.items():
            envelope = self.file.envelope(seq)
            if envelope is not None:
                assert [number_of(one) for one in open_batch(envelope, verifier).readings()] == numbers
                assert seq not in told, "a gap record for what is there"
            else:
                assert seq <= self.through or seq in told, f"batch {seq} is gone without a word"
                assert seq <= self.through or not any(number % 11 == 0 for number in numbers), "an alarm was given up"

    @invariant()
    def the_position_stands(self) -> None:
        position = self.file.position()
        assert (position.last_seq, position.through) == (len(self.batches), self.through)
        assert position.last_hash == self.hashes[-1]

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.home)


def run(examples: int, phases: Collection[Phase] = tuple(Phase)) -> None:
    run_state_machine_as_test(
        SpoolModel,
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, database=None, derandomize=True, phases=phases
        ),
    )


def test_the_spool_does_what_its_model_does() -> None:
    REACHED.clear()
    case = Case(id="I2-model", seed=seed(0), trials=trials(25))
    run(case.trials)
    case.reached.update(REACHED)
    case.close(points=["evicted", "refused"])


def test_the_model_notices_a_spool_that_keeps_a_redelivered_event_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpoolFile, "_fresh", lambda _self, _db, readings: list(readings))
    with pytest.raises(AssertionError):
        run(25, ONLY_FIND)


def test_the_model_notices_a_spool_that_gives_up_batches_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_KEPT", "_OLDEST"):
        monkeypatch.setattr(retention, name, getattr(retention, name).replace("WHERE confirmed = 2", "WHERE true"))
    with pytest.raises(AssertionError, match="gone without a word"):
        run(50, ONLY_FIND)
