"""Finds what a hamlet has: cameras, loudspeakers, serial devices, modems and wifi, and writes their configuration."""
