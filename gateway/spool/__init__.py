"""The gateway's durable queue: readings in order of arrival, then sealed batches, until the hub's signed watermark."""
