"""Sources: where frames come from. Each yields packs of frames and confirms them when they are kept."""
