"""Ingest: batches from the broker into the store, exactly once each, acknowledged after COMMIT."""
