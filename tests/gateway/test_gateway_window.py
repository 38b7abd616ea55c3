"""The delivery window: which batch goes next, and what an acknowledgement may free."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.window import DeliveryWindow, Verdict
from wire.ack import Ack, holes
from wire.identity import Epoch, GatewayId

GATEWAY = GatewayId("thon-1")
EPOCH = Epoch("0" * 16)


def window(**state: float) -> DeliveryWindow:
    return DeliveryWindow(epoch=EPOCH, chance=random.Random(1), **state)  # type: ignore[arg-type]


def ack(through: int, *, highest: int = 0, missing: Iterable[tuple[int, int]] = (), incarnation: int = 1) -> Ack:
    return Ack(
        gateway=GATEWAY,
        incarnation=incarnation,
        epoch=EPOCH,
        through=through,
        highest=max(through, highest),
        missing=tuple(missing),
    )


def drain(window: DeliveryWindow, now: float = 0.0, most: int = 1000) -> list[int]:
    """Everything that the window wants to send now."""
    sent: list[int] = []
    while len(sent) < most and (seq := window.next(now)) is not None:
        sent.append(seq)
    return sent


def test_late_ack_does_not_move_the_watermark_back() -> None:
    w = window(through=7, highest=12)
    assert w.acknowledge(ack(9), 0.0) is Verdict.ACCEPTED
    assert w.acknowledge(ack(8), 0.0) is Verdict.LATE
    assert w.through == 9


def test_the_backlog_goes_oldest_first_and_leaves_a_quarter_of_the_window_free() -> None:
    w = window(through=3, highest=100, size=16)
    assert drain(w) == list(range(4, 16))
    assert w.in_flight == 12


def test_live_batches_go_before_the_backlog() -> None:
    w = window(through=0, highest=100, size=16)
    drain(w)
    w.seal(101)
    w.seal(102)
    assert drain(w) == [101, 102]
    assert w.acknowledge(ack(4, highest=102, missing=[(5, 101)]), 0.5) is Verdict.ACCEPTED
    w.seal(103)
    assert next(iter(drain(w, 0.5))) == 103


def test_what_the_hub_names_missing_goes_before_live_batches() -> None:
    w = window(through=0, highest=8, size=16)
    assert drain(w) == list(range(1, 9))
    assert w.acknowledge(ack(2, highest=8, missing=[(3, 4)]), 60.0) is Verdict.ACCEPTED
    w.seal(9)
    assert drain(w, 60.0) == [3, 4, 9]


def test_a_batch_that_crosses_the_ack_on_the_wire_is_not_sent_twice() -> None:
    w = window(through=0, highest=4)
    drain(w, now=10.0)
    w.acknowledge(ack(0, highest=4, missing=[(1, 3)]), 10.5)
    assert drain(w, 10.5) == []


def test_alarms_go_before_everything_even_when_the_window_is_full() -> None:
    w = window(through=0, highest=100, size=4)
    drain(w)
    w.seal(101)
    w.seal(102)
    drain(w)
    w.seal(103, urgent=True)
    assert w.next(0.0) == 103


def test_a_live_alarm_goes_before_those_of_the_outage() -> None:
    w = window(through=0, highest=50, size=8)
    for seq in (3, 7, 9):
        w.seal(seq, urgent=True)
    assert w.next(0.0) == 3
    w.seal(51, urgent=True)
    assert drain(w)[:3] == [51, 7, 9]


def test_of_more_alarms_than_may_overtake_the_newest_do() -> None:
    w = window(through=0, highest=3_000, size=4)
    for seq in range(1, 3_001):
        w.seal(seq, urgent=True)
    w.seal(3_001, urgent=True)
    assert w.next(0.0) == 3_001
    assert w.next(0.0) == 2_002


def test_without_room_on_the_line_only_what_is_live_goes() -> None:
    w = window(through=0, highest=100, size=8)
    w.seal(5, urgent=True)
    drain(w)
    w.reconnect()
    assert w.next(1.0, bulk=False) is None, "neither what was in flight nor an alarm of the outage"
    w.seal(101)
    w.seal(102, urgent=True)
    assert w.next(1.0, bulk=False) == 102
    assert w.next(1.0, bulk=False) == 101
    assert w.next(1.0, bulk=False) is None
    assert w.next(1.0) == 5


def test_after_a_cut_the_alarm_in_flight_goes_again_before_the_older_batches() -> None:
    w = window(through=0, highest=50, size=8)
    drain(w)
    w.seal(51, urgent=True)
    assert drain(w)[0] == 51
    w.reconnect()
    assert drain(w, 1.0)[0] == 51


def test_after_a_cut_everything_in_flight_goes_again_at_once() -> None:
    w = window(through=0, highest=5)
    assert drain(w) == [1, 2, 3, 4, 5]
    assert drain(w) == []
    w.reconnect()
    assert drain(w) == [1, 2, 3, 4, 5]


def test_what_gets_no_word_goes_again_after_ever_longer_waits() -> None:
    w = window(through=0, highest=1, resend_s=30.0)
    now, waits = 0.0, []
    for _ in range(12):
        assert w.next(now) == 1
        wait = w.wake_in(now)
        assert wait is not None
        assert w.next(now + wait - 0.001) is None
        waits.append(wait)
        now += wait
    assert 22.5 <= waits[0] <= 37.5
    assert 45.0 <= waits[1] <= 75.0
    assert all(wait <= 900 * 1.25 for wait in waits)
    assert waits[-1] >= 900 * 0.75


def test_a_batch_that_did_not_reach_the_broker_goes_again_at_once_and_a_refused_one_later() -> None:
    w = window(through=0, highest=2)
    drain(w)
    w.fail(1, 1.0, wait=False)
    w.fail(2, 1.0, wait=True)
    assert drain(w, 1.0) == [1]
    w.fail(99, 1.0, wait=True)


def test_an_ack_of_another_epoch_or_of_what_was_never_sealed_is_refused_and_changes_nothing() -> None:
    w = window(through=7, highest=12, incarnation=5)
    other = Ack(gateway=GATEWAY, incarnation=5, epoch=Epoch("1" * 16), through=9, highest=9)
    assert w.acknowledge(other, 0.0) is Verdict.OTHER_EPOCH
    assert w.acknowledge(ack(13, incarnation=6), 0.0) is Verdict.FORK
    assert w.acknowledge(ack(9, highest=13, missing=[(10, 12)], incarnation=6), 0.0) is Verdict.FORK
    assert w.acknowledge(ack(9, incarnation=4), 0.0) is Verdict.OLD_INCARNATION
    assert (w.through, w.incarnation) == (7, 5)


def test_a_restored_hub_lowers_the_watermark_and_is_refilled() -> None:
    w = window(through=0, highest=10, incarnation=1)
    drain(w)
    w.acknowledge(ack(10), 0.0)
    assert drain(w) == []
    assert w.acknowledge(ack(4, incarnation=2), 1.0) is Verdict.ACCEPTED
    assert w.through == 4
    assert drain(w, 1.0) == [5, 6, 7, 8, 9, 10]


def test_what_a_hub_had_stored_beyond_a_hole_goes_again_when_a_restored_one_lacks_it() -> None:
    w = window(through=9, highest=1000, incarnation=1, size=4)
    drain(w)
    w.seal(1001)
    assert drain(w) == [1001]
    w.acknowledge(ack(9, highest=1001, missing=[(10, 1000)]), 0.0)
    assert w.acknowledge(ack(9, incarnation=2), 1.0) is Verdict.ACCEPTED
    through, now = 9, 1.0
    while through < 1001:
        sent = drain(w, now)
        assert sent, "1001 was forgotten"
        through = max(
            through, max(seq for seq in range(through, 1002) if set(range(through + 1, seq + 1)) <= set(sent))
        )
        w.acknowledge(ack(through, incarnation=2), now)
        now += 1000.0


def test_what_retention_let_go_is_forgotten_and_does_not_stop_the_rest() -> None:
    w = window(through=100, highest=120, incarnation=1)
    w.acknowledge(ack(10, incarnation=2), 0.0)
    rest: list[int] = []
    for _ in range(500):
        seq = w.next(0.0)
        if seq is None:
            break
        if seq <= 90:
            w.drop(seq)
        else:
            rest.append(seq)
    assert rest == list(range(91, 103 + 1))[: len(rest)]
    assert len(rest) >= 12
    w.acknowledge(ack(10, highest=max(rest), missing=[(11, 90)], incarnation=2), 50.0)
    again = drain(w, 50.0)
    assert not [seq for seq in again if seq <= 90], "a dropped batch is asked for for ever"
    assert again
    w.seal(121)
    assert 121 in drain(w, 50.0)


def test_a_gap_of_a_million_stored_batches_is_skipped_in_one_step() -> None:
    w = window(through=0, highest=1_000_000, incarnation=1)
    w.acknowledge(ack(0, highest=999_990, missing=[(1, 2), (500_000, 500_001)]), 0.0)
    assert drain(w)[:6] == [1, 2, 500_000, 500_001, 999_991, 999_992]


@given(st.integers(1, 64), st.integers(0, 5_000), st.lists(st.booleans(), max_size=300))
def test_whatever_the_backlog_memory_stays_within_the_window(size: int, backlog: int, sealed: list[bool]) -> None:
    w = window(through=0, highest=backlog, size=size)
    for urgent in sealed:
        w.seal(w.highest + 1, urgent=urgent)
        drain(w)
    assert w.in_flight <= 2 * size + 1
    assert len(w._urgent) <= 1_000


def test_ten_thousand_alarms_in_an_outage_do_not_fill_the_memory_and_all_arrive() -> None:
    w = window(through=0, highest=0, size=16)
    for seq in range(1, 10_001):
        w.seal(seq, urgent=True)
    stored: set[int] = set()
    through, now = 0, 0.0
    while through < 10_000:
        sent = drain(w, now)
        assert 0 < len(sent) <= 33
        assert w.in_flight <= 33
        stored.update(sent)
        while through + 1 in stored:
            through += 1
        missing, highest = holes(through, sorted(seq for seq in stored if seq > through))
        w.acknowledge(ack(through, highest=highest, missing=missing), now)
        now += 1.0


# ---- against a hub that loses, repeats, mixes up, truncates and is restored


class ModelHub:
    """Stores what arrives; its word is the truth that the window must not exceed."""

    def __init__(self) -> None:
        self.stored: set[int] = set()
        self.incarnation = 1
        self.backups: list[set[int]] = [set()]

    def acknowledge(self) -> Ack:
        through = 0
        while through + 1 in self.stored:
            through += 1
        missing, highest = holes(through, sorted(seq for seq in self.stored if seq > through))
        return ack(through, highest=highest, missing=missing, incarnation=self.incarnation)

    def restore(self) -> None:
        self.stored = set(self.backups[-1])
        self.incarnation += 1


ACTIONS = st.lists(
    st.sampled_from(
        ["seal", "alarm", "send", "deliver", "ack", "hear", "cut", "wait", "fail", "backup", "restore", "restart"]
    ),
    max_size=150,
)


@given(st.integers(1, 8), st.integers(0, 40), ACTIONS, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_every_batch_ends_up_stored_and_nothing_is_freed_that_the_hub_has_not(
    size: int, backlog: int, actions: list[str], chance: random.Random
) -> None:
    w = DeliveryWindow(epoch=EPOCH, highest=backlog, size=size, chance=chance)
    hub, now = ModelHub(), 0.0
    up: list[int] = []
    down: list[Ack] = []

    def hear(word: Ack) -> None:
        verdict = w.acknowledge(word, now)
        assert verdict is not Verdict.FORK
        if verdict is Verdict.ACCEPTED and word.incarnation == hub.incarnation:
            assert set(range(1, w.through + 1)) <= hub.stored

    for action in actions:
        match action:
            case "seal" | "alarm":
                w.seal(w.highest + 1, urgent=action == "alarm")
            case "send":
                seq = w.next(now)
                if seq is not None:
                    up.extend([seq] * chance.choice([0, 1, 1, 1, 2]))
            case "deliver" if up:
                hub.stored.add(up.pop(chance.randrange(len(up))))
            case "ack":
                down.extend([hub.acknowledge()] * chance.choice([0, 1, 2]))
            case "hear" if down:
                hear(down.pop(chance.randrange(len(down))))
            case "cut":
                up.clear()
                w.reconnect()
            case "wait":
                now += chance.choice([0.5, 5.0, 60.0])
            case "fail" if w._flights:
                w.fail(chance.choice(sorted(w._flights)), now, wait=chance.random() < 0.5)
            case "backup":
                hub.backups.append(set(hub.stored))
            case "restore":
                hub.restore()
            case "restart":
                up.clear()
                w = DeliveryWindow(
                    epoch=EPOCH,
                    through=w.through,
                    highest=w.highest,
                    incarnation=w.incarnation,
                    size=size,
                    chance=chance,
                )
        assert w.in_flight <= 2 * size + 1

    for _ in range(2_000):
        if len(hub.stored) == w.highest and w.through == w.highest:
            break
        for seq in drain(w, now):
            hub.stored.add(seq)
        hear(hub.acknowledge())
        now += 1_200.0
    assert hub.stored == set(range(1, w.highest + 1))
    assert w.through == w.highest
    assert w.next(now + 10_000) is None
    assert w.in_flight == 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_windows_still_deliver(size: int) -> None:
    w = window(through=0, highest=10, size=size)
    through, now = 0, 0.0
    while through < 10:
        through = max(drain(w, now))
        w.acknowledge(ack(through), now)
        now += 1.0
    assert w.in_flight == 0
