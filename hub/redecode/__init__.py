"""Deriving observations anew from raw frames, with a corrected codec or quantities file (decision 015)."""
