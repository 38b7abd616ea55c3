"""The settings that a power cut depends on, read back from the connection that writes."""

from pathlib import Path

from gateway.spool.store import SpoolFile
from wire.identity import GatewayId
from wire.keys import SigningKey

FULL = 2


def test_every_commit_is_on_the_card_before_it_is_reported(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "spool.db", GatewayId("gw-a"), SigningKey.generate())
    file.open()
    try:
        # apsw runs only the first of several PRAGMAs in one call unless the rows are fetched: ask, do not assume.
        assert file._card.connection.pragma("synchronous") == FULL
        assert file._card.connection.pragma("journal_mode") == "wal"
    finally:
        file.close()
