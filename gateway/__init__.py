"""The gateway: hears what a hamlet's devices say, keeps it durably, seals it into signed batches, delivers them."""
