"""The hub: admits batches, stores them exactly once, derives observations, answers questions about them."""
