"""A12, the spool's part: what the writing thread does while half a million batches wait costs as if there were few.

No time is asserted. SQLite says of each statement whether it walks through a table; `test_…_with_the_indexes_dropped`
shows that it would.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.spool import confirmation, retention, room, store
from gateway.spool.store import SpoolFile
from tests.faults.test_faults_gateway_damage import KEY, seal
from tests.gateway.gateway_readings import GATEWAY, confirm, reading

EPOCH, SEQ = "0" * 16, 1
HOT = {
    "an Ack confirms": (confirmation._CONFIRM, (1, EPOCH, SEQ, SEQ, 0)),
    "an Ack lacks what was confirmed": (confirmation._UNCONFIRM, (EPOCH, SEQ, SEQ)),
    "an Ack passes what was evicted": (confirmation._FORGET_GONE, (EPOCH, SEQ)),
    "the oldest confirmed at the cap": (room._CONFIRMED, (16,)),
    "the oldest routine at the cap": (room._ROUTINE, (16,)),
    "the retention floor": (retention._OLDEST, (240,)),
    "alarms at a start": (store._URGENT, (SEQ,)),
    "an envelope to send": (store._ENVELOPE, {"seq": SEQ, "epoch": None}),
}
INDEXES = ("header_told", "header_aged", "header_alarm", "header_gone")


def spool(folder: Path) -> SpoolFile:
    file = SpoolFile(folder / "spool.db", GATEWAY, KEY)
    file.open()
    return file


def walks(file: SpoolFile, sql: str, values: object) -> list[str]:
    """Return the steps of a statement that read batches from end to end, sort them, or sift a range of them."""
    steps = [row[3] for row in file._card.connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]  # type: ignore[arg-type]
    sifts = [step for step in steps if "seq" in step and "confirmed=" not in step and "header_gone" not in step]
    sifts = [step for step in sifts if "seq>" in step or "seq<" in step]
    return sifts + [step for step in steps if step.startswith(("SCAN header", "SCAN envelope", "USE TEMP B-TREE"))]


@pytest.mark.parametrize("what", HOT)
def test_a12_no_statement_of_the_writing_thread_walks_through_the_backlog(tmp_path: Path, what: str) -> None:
    file = spool(tmp_path)
    assert walks(file, *HOT[what]) == []
    file.close()


def test_a12_they_would_with_the_indexes_dropped(tmp_path: Path) -> None:
    file = spool(tmp_path)
    for index in INDEXES:
        file._card.connection.execute(f"DROP INDEX {index}")
    walking = {what for what, statement in HOT.items() if walks(file, *statement)}
    assert walking == HOT.keys() - {"an envelope to send"}
    file.close()


def test_a12_the_retention_floor_reads_no_envelope_while_the_file_is_smaller(tmp_path: Path) -> None:
    """Adding up envelopes reads them all; the file's own size says first whether that can matter."""
    file = spool(tmp_path)
    for number in range(16):
        file.append([reading(number)])
        seal(file)
    confirm(file, 16, 1)
    steps: list[str] = []
    # SQLITE_TRACE_PROFILE: at its end
    file._card.connection.trace_v2(2, lambda event: steps.append(event.get("sql", "")))
    assert file.trim(0, 10**9) == 0
    assert not [sql for sql in steps if "length(bytes)" in sql]
    assert file.trim(0, 1) > 0
    assert [sql for sql in steps if "length(bytes)" in sql]
    file.close()
