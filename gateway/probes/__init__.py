"""Probes: what the gateway finds out about the infrastructure around it, by the protocols that it really speaks."""
