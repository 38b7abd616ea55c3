"""Sources: where frames come from. One file each; every one yields packs of frames and confirms them when they are kept."""
