"""Reports of a run: its table, plots and pictures, and ``metrics.json``."""
