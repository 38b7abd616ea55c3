"""A2, A3: the power fails while a real gateway writes: what it has acknowledged is on the card, and the chain goes on.

The card is an image that is copied in one instant beside the running writer; what the kernel has not given to the card
by then is gone. The oracle is read before the copy.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.uplinks import Key
from gateway.crash import Point
from gateway.spool.sqlite import Damaged
from gateway.spool.store import SpoolFile
from tests.faults.gateway_bed import Bed, attended
from tests.faults.gateway_broken import Switch
from tests.faults.gateway_card import Shelf, mounted, shelf
from tests.faults.gateway_shim import Answer, Call, FailingCard
from tests.faults.gateway_surroundings import Surroundings, Word, keys_of
from tests.faults.harness import CRASHED, Case, Oracle, crash_at, seed, trials
from tests.faults.test_faults_gateway_damage import Damage, damage
from wire.batch import Batch, Gap, open_batch
from wire.identity import Epoch

_CUTS = 12
_CUTS_A_CARD = 20
_LONGEST_WAIT_S = 0.25
_PER_S = 300.0
_STARTS = 3
_TOML = (
    "[seal]\nevery_s = 0.2\nidle_s = 0.2\nmost_readings = 25\nunsynchronised_s = 0.0\n"
    "[spool]\nmegabytes = 24\nreserve = 2\n"
)
_LEVELS = 5
_SOME = 11  # batches: a file of some size
_RUINED = 6
_DEEP = 3
_UNTIL_LOST = 8
_FAR = 100  # calls to the card, on average; a recovery makes a few hundred
POINTS = (Point.AFTER_APPEND, Point.BEFORE_SEAL, Point.AFTER_SEAL, Point.AFTER_CONFIRM, Point.BEFORE_TRIM)
CHECKPOINT, TRIM, HEAD = "checkpoint", "trim", "head"


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with shelf(tmp_path_factory.mktemp("shelf")) as made:
        yield made


class Found:
    """A spool after a power cut, opened as the next start opens it and read to the last byte."""

    def __init__(self, gateway: Bed, data: Path) -> None:
        self._gateway, self._path = gateway, data / "spool.db"
        self.batches: dict[tuple[Epoch, int], Batch] = {}
        self.keys: list[Key] = []
        self.gaps: list[Gap] = []
        self.epochs: list[tuple[Epoch, int]] = []
        began = time.monotonic()
        assert any(self._reads() for _ in range(_STARTS)), "it spins: damage is met again after every start"
        self.took_s = time.monotonic() - began

    def _reads(self) -> bool:
        file = SpoolFile(self._path, self._gateway.village.gateway_id, self._gateway.key)
        file.open()
        try:
            position = file.position()
            self.epochs = [(position.epoch, position.last_seq)]
            self.epochs += [(one.epoch, one.last_seq) for one in file.older()]
            self.batches = dict(self._batches(file))
            self.gaps = file.gaps()
            waiting = [
                (one.frame.source.partition(":")[2], one.frame.link.f_cnt) for one in file.unsealed() if one.frame.link
            ]
        except Damaged:
            return False
        finally:
            file.close()
        self.keys = waiting + [key for batch in self.batches.values() for key in keys_of(batch)]
        return True

    def _batches(self, file: SpoolFile) -> Iterator[tuple[tuple[Epoch, int], Batch]]:
        verifier = self._gateway.key.public.verifier()
        for epoch, last in self.epochs:
            for seq in range(1, last + 1):
                envelope = file.envelope(seq, epoch)
                if envelope is not None:
                    yield (epoch, seq), open_batch(envelope, verifier)

    def check_the_chain(self, word: Word) -> None:
        """Each batch names its predecessor, and no number that the hub has been given stands for anything else."""
        for (epoch, seq), batch in self.batches.items():
            before = self.batches.get((epoch, seq - 1))
            assert before is None or batch.body.prev == before.payload_sha256, f"{epoch} {seq}"
        position = dict(self.epochs)
        for (epoch, seq), sent in word.stored.items():
            assert seq <= position.get(epoch, seq), f"the hub has {epoch} {seq}, which the chain will use again"
            kept = self.batches.get((epoch, seq))
            assert kept is None or kept.payload_sha256 == sent.payload_sha256


def judge(case: Case, word: Word, around: Surroundings, found: Found, *, hub_counts: bool = True) -> set[Key]:
    """Add one cut to the case; returns what was promised and is nowhere, or not on the card."""
    oracle: Oracle[Key] = Oracle(set(around.oracle.produced), set(word.promised))
    verdict = oracle.judge(found.keys)
    lost = verdict.lost - set(around.at_hub() if hub_counts else ())
    case.trials += 1
    case.recovered(found.took_s)
    case.stored += verdict.stored
    case.duplicate += len(verdict.duplicate)
    case.gaps += len(found.gaps)
    assert not verdict.invented
    found.check_the_chain(word)
    return lost


def cut(
    case: Case, cards: Shelf, image: Path, gateway: Bed, around: Surroundings, place: Path, *, hub_counts: bool = True
) -> None:
    """One power cut: oracle, copy, mount, start, verdict."""
    word = around.word()
    copy = cards.cut(image)
    try:
        with mounted(copy, place):
            found = Found(gateway, place / "data")
            case.lost += len(judge(case, word, around, found, hub_counts=hub_counts))
    finally:
        copy.unlink()


Cut = Callable[[Case, Shelf, Path, Bed, Surroundings, Path], None]


def lives(
    case: Case, cards: Shelf, folder: Path, count: int, *switches: Switch, cut: Cut = cut, acknowledges: bool = True
) -> None:
    """So many cuts at random moments of one writer's life; a fresh card every twenty."""
    chance = case.random
    for first in range(0, count, _CUTS_A_CARD):
        image = cards.card()
        with ExitStack() as stack:
            card = stack.enter_context(mounted(image, folder / "card"))
            around = stack.enter_context(Surroundings(per_s=_PER_S))
            around.acknowledges = acknowledges
            gateway = stack.enter_context(attended(around.bed(folder / f"bed-{first}", _TOML, card)))
            gateway.start(None, Switch.SMALL_LOG, *switches)
            gateway.wait_until_it_hears()
            around.wait_for_batches(_SOME)
            for _ in range(min(_CUTS_A_CARD, count - first)):
                time.sleep(chance.uniform(0.0, _LONGEST_WAIT_S))  # the moment of the fault itself
                cut(case, cards, image, gateway, around, folder / "cut")
            assert gateway.kill() == CRASHED, gateway.said
            assert around.conflicts == 0
        image.unlink()


def test_a2_power_cut_at_random_moments(tmp_path: Path, cards: Shelf) -> None:
    case = Case(id="A2", seed=seed(201))
    lives(case, cards, tmp_path, trials(_CUTS))
    assert case.gaps == 0, "a sound card's cut leaves no gap"
    assert case.recovery_s < 60
    case.close()


def test_a2_fails_when_a_commit_does_not_wait_for_the_card(tmp_path: Path, cards: Shelf) -> None:
    case = Case(id="A2-broken:synchronous_normal", seed=seed(202))
    alone = functools.partial(cut, hub_counts=False)  # the hub acknowledges nothing: all of it must be on the card
    lives(case, cards, tmp_path, 4, Switch.SYNCHRONOUS_NORMAL, cut=alone, acknowledges=False)
    case.print()
    assert case.lost > 0


# ---- each window on purpose


def test_a2_power_cut_in_each_window(tmp_path: Path, cards: Shelf) -> None:
    """The process is killed in the window and the card cut at once, so that nothing of it is completed."""
    case = Case(id="A2-points", seed=seed(203))
    chance = case.random
    image = cards.card()
    with ExitStack() as stack:
        card = stack.enter_context(mounted(image, tmp_path / "card"))
        around = stack.enter_context(Surroundings(per_s=_PER_S))
        shim = stack.enter_context(FailingCard(tmp_path))
        gateway = stack.enter_context(attended(around.bed(tmp_path / "bed", _TOML, card)))
        for point in POINTS:
            gateway.start(crash_at(point, 1 if point is Point.BEFORE_TRIM else chance.randint(1, 9)), Switch.SMALL_LOG)
            wait_for_the_crash(case, gateway, point)
            cut(case, cards, image, gateway, around, tmp_path / "cut")
        for window, file in ((CHECKPOINT, "spool.db"), (TRIM, "spool.db-wal"), (HEAD, "spool.head")):
            shim.order(card, Call.WRITE, Answer.DIE, nth=chance.randint(1, 6), name=file)
            trimming = {"XOM_GATEWAY_RETENTION_MEGABYTES": "0"} if window is TRIM else {}
            gateway.start(shim.environment | trimming, Switch.SMALL_LOG)
            wait_for_the_crash(case, gateway, window)
            cut(case, cards, image, gateway, around, tmp_path / "cut")
        assert around.conflicts == 0
    image.unlink()
    assert case.gaps == 0
    case.close(points=[*POINTS, CHECKPOINT, TRIM, HEAD])


def wait_for_the_crash(case: Case, gateway: Bed, point: str) -> None:
    assert gateway.running.wait(timeout=60) == CRASHED, f"{point}: {gateway.said[-2000:]}"
    case.reached[point] += 1


# ---- the power cut ruins a page, too


def test_a2_a_power_cut_that_ruins_a_page_costs_what_the_page_held(tmp_path: Path, cards: Shelf) -> None:
    """A loop image has no card that damages its neighbours when power fails: a page of zeros stands for that (A9)."""
    case = Case(id="A2-A9", seed=seed(204))
    lives(case, cards, tmp_path, trials(_RUINED), cut=cut_and_ruin, acknowledges=False)
    assert case.gaps > 0, "no page that mattered was hit"
    case.close()


def ruin_in_turn(file: Path, word: Word, case: Case) -> str:
    """The first batch's page, the page that says what the file is, then pages anywhere."""
    if case.trials % _CUTS_A_CARD == 0 and (what := ruin_a_batch(file, word)):
        return what
    if case.trials % _CUTS_A_CARD == 1:
        return zero(file, 0)
    return damage(file, Damage.ZERO, random.Random(case.seed * 1_000 + case.trials))


def ruin_a_batch(file: Path, word: Word) -> str:
    """Zero the page on which the first batch begins: one that matters, and that the log no longer covers."""
    first = min(word.stored.items(), key=lambda item: item[0][1])[1]
    at = file.read_bytes().find(first.payload[:64])
    return "" if at < 0 else zero(file, at)


def zero(file: Path, at: int) -> str:
    with file.open("r+b") as opened:
        opened.seek(at - at % 4096)
        opened.write(bytes(4096))
    return f"zero {file.name} at {at};"


def cut_and_ruin(case: Case, cards: Shelf, image: Path, gateway: Bed, around: Surroundings, place: Path) -> None:
    word = around.word()
    copy = cards.cut(image)
    try:
        with mounted(copy, place):
            what = ruin_in_turn(place / "data" / "spool.db", word, case)
            found = Found(gateway, place / "data")
    finally:
        copy.unlink()
    lost = judge(case, word, around, found, hub_counts=False)
    told = [gap for gap in found.gaps if gap.certain]
    counted = sum(gap.readings or 0 for gap in told)
    gone = len(around.oracle.produced - set(found.keys))
    if not len(lost) <= counted <= gone:
        case.lost += len(lost)
        case.notes.append("not_exact")
        print(f"{what}: {len(lost)} lost, {counted} counted, {gone} not here: {found.gaps}")  # noqa: T201
    missing = {(epoch, seq) for epoch, last in found.epochs for seq in range(1, last + 1)} - set(found.batches)
    named = {(gap.epoch, seq) for gap in found.gaps if gap.first for seq in range(gap.first, gap.last + 1)}
    assert {(str(epoch), seq) for epoch, seq in missing} == named, what


# ---- cuts during the recovery from a cut


def test_a3_power_cut_during_the_recovery_from_a_power_cut(tmp_path: Path, cards: Shelf) -> None:
    """Five levels: each start of a real gateway, on a card with a ruined page, is cut in its turn."""
    case = Case(id="A3", seed=seed(301))
    for trial in range(trials(_DEEP)):
        deep(case, cards, tmp_path / f"trial-{trial}", random.Random(case.seed * 1_000 + trial))
    assert case.recovery_s < 60
    case.close(points=["recovering"])


def ruin(file: Path, turn: int, chance: random.Random) -> str:
    """A page anywhere, the page that says what the file is (it costs nothing), the whole file: in turn."""
    if turn % 3 == 1:
        return zero(file, 0)
    return damage(file, Damage.DELETE if turn % 3 else Damage.ZERO, chance)


def covered(lost: set[Key], word: Word, gaps: list[Gap]) -> bool:
    """Whether gap records account for what is lost: by batch, the rest by its number, which may be a lower bound."""
    named = {(gap.epoch, seq) for gap in gaps if gap.first for seq in range(gap.first, gap.last + 1)}
    by_batch = {
        key for (epoch, seq), batch in word.stored.items() if (str(epoch), seq) in named for key in keys_of(batch)
    }
    rest = [gap for gap in gaps if not gap.first]
    return len(lost - by_batch) <= sum(gap.readings or 0 for gap in rest) or any(not gap.certain for gap in rest)


def deep(case: Case, cards: Shelf, folder: Path, chance: random.Random, *switches: Switch) -> None:
    folder.mkdir()
    image = cards.card()
    with Surroundings(per_s=_PER_S) as around, FailingCard(folder) as shim:
        around.acknowledges = False
        with mounted(image, folder / "card") as card, attended(around.bed(folder / "bed", _TOML, card)) as gateway:
            gateway.start(None, Switch.SMALL_LOG)
            gateway.wait_until_it_hears()
            around.wait_for_batches(_SOME)
            gateway.freeze()  # else it would go on after the cut, and promise what no later start can know
            word, image = around.word(), cards.cut(image)
            assert gateway.kill() == CRASHED
        for level in range(1, _LEVELS + 1):
            with mounted(image, folder / "card") as card, attended(gateway):
                if level == 1:
                    what = ruin(card / "data" / "spool.db", case.trials, chance)
                    (card / "data" / "spool.suspect").touch()  # a recovery for certain, also where the log covers it
                pending = card / "data" / "quarantine" / "pending"
                case.reached["recovering"] += pending.exists()
                nth = 1 + int(chance.expovariate(1 / _FAR))
                shim.order(card, Call.WRITE | Call.SYNC | Call.OPEN, Answer.DIE, nth=nth)
                gateway.start(shim.environment, Switch.SMALL_LOG, *switches)
                assert gateway.running.wait(timeout=60) == CRASHED, gateway.said[-2000:]
                word, image = around.word(), cards.cut(image)
        with mounted(image, folder / "card") as card:
            found = Found(gateway, card / "data")
        lost = judge(case, word, around, found, hub_counts=False)
        assert around.conflicts == 0
        if lost and (what.startswith("zero spool.db at 0;") or not covered(lost, word, found.gaps)):
            case.lost += len(lost)
            print(f"{what}: {len(lost)} lost, {found.gaps}")  # noqa: T201


def test_a3_fails_when_the_recovery_does_not_wait_for_the_card(tmp_path: Path, cards: Shelf) -> None:
    """The note of where the damaged spool lies is then empty after a cut: the next start finds nothing to salvage."""
    case, refused = Case(id="A3-broken:hasty_recovery", seed=seed(301)), ""
    for trial in range(_UNTIL_LOST):
        try:
            deep(
                case,
                cards,
                tmp_path / f"trial-{trial}",
                random.Random(case.seed * 1_000 + trial),
                Switch.HASTY_RECOVERY,
            )
        except AssertionError as error:  # a start that ends at once, a number used twice
            refused = str(error)
        if case.lost or refused:
            break
    case.print()
    assert case.lost > 0 or refused
