"""Every performance claim, runnable: each figure beside the physical limit measured in the same run."""
