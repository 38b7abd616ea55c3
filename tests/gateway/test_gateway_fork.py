"""Two writers of one log: found by the acknowledgement's anchor, parted by a new epoch, and nothing freed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.delivery.window import DeliveryWindow, Verdict
from gateway.spool import recovery
from gateway.spool.sqlite import SpoolError
from gateway.spool.store import SpoolFile
from tests.gateway.gateway_readings import GATEWAY, START_MS, confirm, reading, seal_one
from wire.ack import Ack, Anchor
from wire.batch import Cause, parse_payload
from wire.dsse import Envelope
from wire.identity import Epoch
from wire.keys import SigningKey
from wire.refusal import Reason

EPOCH = Epoch("e" * 16)
OURS, THEIRS = b"\x01" * 32, b"\x02" * 32
KEY = SigningKey.generate()


def window(highest: int = 10) -> DeliveryWindow:
    return DeliveryWindow(epoch=EPOCH, highest=highest, size=16)


def ack(through: int, highest: int = 0, *, anchor: bytes | None = OURS, broken: int = 0, incarnation: int = 1) -> Ack:
    bound = Anchor(through, anchor.hex()) if anchor is not None and through else None
    return Ack(
        gateway=GATEWAY, incarnation=incarnation, epoch=EPOCH, through=through, highest=max(through, highest),
        anchor=bound, broken=broken,
    )  # fmt: skip


def drain(w: DeliveryWindow, now: float = 0.0) -> list[int]:
    return list(iter(lambda: w.next(now), None))


def test_an_anchor_that_is_ours_is_believed() -> None:
    w = window()
    assert w.acknowledge(ack(7), 0.0, OURS) is Verdict.ACCEPTED
    assert w.through == 7


def test_an_anchor_of_another_content_is_a_fork_and_frees_nothing() -> None:
    w = window()
    assert w.acknowledge(ack(7), 0.0, THEIRS) is Verdict.FORK
    assert (w.through, w.incarnation) == (0, 0)
    assert drain(w) == list(range(1, 11))


def test_a_broken_link_at_the_hub_is_a_fork_even_where_the_anchor_is_ours() -> None:
    assert window().acknowledge(ack(7, 9, broken=8), 0.0, OURS) is Verdict.FORK


def test_a_hub_that_has_more_than_we_ever_sealed_shows_that_our_card_is_an_older_copy() -> None:
    assert window(highest=5).acknowledge(ack(9), 0.0, None) is Verdict.FORK


def test_an_older_message_is_late_and_no_fork() -> None:
    w = window()
    w.acknowledge(ack(7), 0.0, OURS)
    assert w.acknowledge(ack(3), 0.0, OURS) is Verdict.LATE


def test_in_a_disputed_epoch_only_the_anchor_is_believed() -> None:
    w = window()
    w.disputed = True
    assert w.acknowledge(ack(7, 40, broken=8), 0.0, OURS) is Verdict.ACCEPTED
    assert w.through == 7
    assert drain(w) == [8, 9, 10]
    assert w.acknowledge(ack(9), 0.0, THEIRS) is Verdict.FORK
    assert w.through == 7


def test_in_a_disputed_epoch_what_gets_no_word_steps_aside_for_the_others() -> None:
    w = DeliveryWindow(epoch=EPOCH, highest=40, size=4, disputed=True)
    sent: set[int] = set()
    now = 0.0
    for _ in range(400):
        sent.update(drain(w, now))
        now += 30.0
    assert sent == set(range(1, 41))
    assert w.in_flight <= 4


def test_a_batch_refused_three_times_is_parked_and_holds_up_no_other() -> None:
    w = DeliveryWindow(epoch=EPOCH, highest=3, size=1)
    now = 0.0
    for _ in range(3):
        assert drain(w, now) == [1]
        w.refuse(1, Reason.UNKNOWN_VERSION, now)
        now += 1_000.0
    assert w.parked == {1: "unknown_version"}
    assert w.in_flight == 0
    assert drain(w, now) == [2]
    assert w.acknowledge(ack(0, 2, anchor=None), now) is Verdict.ACCEPTED


def test_a_parked_batch_goes_again_after_an_hour_and_is_free_once_it_is_stored() -> None:
    w = DeliveryWindow(epoch=EPOCH, highest=1, size=4)
    for _ in range(3):
        w.refuse(1, Reason.MALFORMED, 0.0)
    assert drain(w, 2_600.0) == []
    assert drain(w, 4_600.0) == [1]
    w.acknowledge(ack(1), 4_601.0, OURS)
    assert w.parked == {}


def test_a_refusal_frees_nothing() -> None:
    w = window()
    drain(w)
    for seq in (0, 3, 99):
        w.refuse(seq, Reason.CONFLICT, 0.0)
    assert w.through == 0
    assert w.parked == {}


# ---- the spool


@pytest.fixture
def file(tmp_path: Path) -> SpoolFile:
    spool = SpoolFile(tmp_path / "spool.db", GATEWAY, KEY)
    spool.open()
    return spool


def fill(file: SpoolFile, batches: int) -> None:
    for number in range(batches):
        file.append([reading(file.position().last_seq * 1000 + number, key=None)])
        seal_one(file, KEY)


def test_a_new_epoch_begins_at_one_and_the_ended_one_waits_beside_it(file: SpoolFile) -> None:
    fill(file, 5)
    confirm(file, 2)
    file.append([reading(99)])
    ended, begun = file.end_epoch("a test", START_MS)
    assert (ended.last_seq, ended.through, begun.last_seq, begun.through) == (5, 2, 0, 0)
    assert begun.epoch != ended.epoch
    assert file.older() == [ended]
    assert [one.frame.key for one in file.unsealed()] == [reading(99).frame.key]
    assert file.envelope(5, ended.epoch) is not None
    seal_one(file, KEY)
    batch = parse_payload(Envelope.decode(file.envelope(1) or b"").payload)
    assert [event.name for event in batch.body.ev] == ["new_epoch"]
    assert "a test" in batch.body.ev[0].detail
    assert (batch.epoch, batch.seq, batch.body.r.n) == (begun.epoch, 1, 1)


def test_a_new_epoch_survives_a_restart(file: SpoolFile) -> None:
    fill(file, 3)
    ended, begun = file.end_epoch("a test", START_MS)
    file.close()
    file.open()
    assert file.position() == begun
    assert file.older() == [ended]
    assert not recovery.is_pending(file.path)


def test_a_batch_drafted_before_the_epoch_ended_is_not_sealed_into_the_new_one(file: SpoolFile) -> None:
    fill(file, 2)
    file.append([reading(7)])
    with pytest.raises(SpoolError, match="does not follow"):
        seal_one(file, KEY, between=lambda: file.end_epoch("a test", START_MS))
    assert len(file.unsealed()) == 1


def test_only_what_is_proven_to_be_ours_is_ever_deleted(file: SpoolFile) -> None:
    fill(file, 6)
    confirm(file, 4, proven=2)
    assert file.trim(START_MS * 2, 0) == 2
    assert [seq for seq in range(1, 7) if file.envelope(seq) is not None] == [3, 4, 5, 6]
    confirm(file, 5, proven=5)
    assert file.trim(START_MS * 2, 0) == 3


def test_what_a_restored_hub_asks_for_and_retention_let_go_is_one_gap_record(file: SpoolFile) -> None:
    fill(file, 6)
    confirm(file, 4)
    file.trim(START_MS * 2, 0)
    epoch = file.position().epoch
    assert [file.note_expired(seq, epoch, START_MS) for seq in (1, 1, 3)] == [4, 4, 4]
    [gap] = file.gaps()
    assert (gap.cause, gap.first, gap.last, gap.certain) == (Cause.EXPIRED, 1, 4, True)
    assert [event.name for event in file.head(9).events] == ["gap"]


def test_what_is_still_there_is_no_gap(file: SpoolFile) -> None:
    fill(file, 2)
    assert file.note_expired(1, file.position().epoch, START_MS) == 1
    assert file.gaps() == []
