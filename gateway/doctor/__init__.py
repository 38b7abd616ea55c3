"""The installer's view: what works, what does not, and what to do, in Vietnamese or English."""
