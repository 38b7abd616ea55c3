"""The oracle's question to the store: is every frame that the network server published there, once, as it was?

It reads the batch log itself, not what was derived from it, and compares raw bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from simulators.oracle import UplinkTruth
from wire.batch import Batch
from wire.reading import Kind

Identity = tuple[str, str, str, int, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The verdict: frames published, found, missing, found more than once, and found though nobody sent them."""

    produced: int
    stored: int
    lost: int
    duplicate: int
    invented: int

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing twice, nothing invented."""
        return self.lost == self.duplicate == self.invented == 0


def audit(truths: Iterable[UplinkTruth], batches: Iterable[Batch]) -> Audit:
    """Compare what was published with the uplinks of the log, by gateway, source, session, counter, time and bytes."""
    expected = {_identity_of(truth) for truth in truths}
    found = Counter(identity for batch in batches for identity in _identities(batch))
    return Audit(
        produced=len(expected),
        stored=sum(found.values()),
        lost=len(expected - found.keys()),
        duplicate=sum(times - 1 for times in found.values()),
        invented=len(found.keys() - expected),
    )


def _identity_of(truth: UplinkTruth) -> Identity:
    link = (truth.dev_addr, truth.f_cnt, truth.observed_at_ms, truth.encoded.data)
    return (str(truth.gateway), str(truth.dev_eui.source), *link)


def _identities(batch: Batch) -> Iterable[Identity]:
    for reading in batch.readings():
        frame = reading.frame
        if frame.kind is Kind.UPLINK and frame.link is not None:
            link = (frame.link.dev_addr, frame.link.f_cnt, frame.observed_at_ms, frame.raw)
            yield (str(batch.gateway), str(frame.source), *link)
