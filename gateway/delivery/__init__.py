"""Delivery: sealed batches to the hub, again and again until its signed watermark says that they are stored."""
