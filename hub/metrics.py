"""What the hub counts. Never in the library's global registry, so that two hubs in one process count apart."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a commit of one batch on an idle SSD to one that waits for a busy SD card.
_COMMIT_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The counters of ingest, registered once in `registry`, by default one of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self.registry = registry
        self.batches = Counter(
            "xom_hub_batches",
            "Batches committed, by outcome (stored, duplicate, conflict)",
            ["outcome"],
            registry=registry,
        )
        self.readings = Counter("xom_hub_readings", "Readings newly stored", registry=registry)
        self.undecoded = Counter(
            "xom_hub_readings_undecoded", "Readings newly stored that have no quantities yet", registry=registry
        )
        self.observations = Counter("xom_hub_observations", "Observations derived and stored", registry=registry)
        self.forks = Counter(
            "xom_hub_forks",
            "Batches whose number holds another content already, by gateway: a copied card or key. Alarm on any",
            ["gateway"],
            registry=registry,
        )
        self.refused = Counter(
            "xom_hub_refused", "Messages refused before the store, by reason", ["reason"], registry=registry
        )
        self.refusals = Counter(
            "xom_hub_refusals", "Messages to gateways that name what was refused or is a conflict", registry=registry
        )
        self.acks = Counter("xom_hub_acks", "Acknowledgements handed to the broker", registry=registry)
        self.store_unavailable = Counter(
            "xom_hub_store_unavailable", "Commits that failed because the database was lost, and were tried again",
            registry=registry,
        )  # fmt: skip
        self.commit_seconds = Histogram(
            "xom_hub_commit_seconds", "Time of one commit, in seconds", buckets=_COMMIT_BUCKETS_S, registry=registry
        )
        self.queue_depth = Gauge("xom_hub_queue_depth", "Batches waiting for a commit", registry=registry)
