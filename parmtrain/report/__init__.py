"""What a run shows: its table, its plots, its pictures, and ``metrics.json``."""
