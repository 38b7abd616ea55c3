"""Cameras: from an open port to a plausible picture."""
