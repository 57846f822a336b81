"""Stages of the experiment `make sweep` (experiments/sweep)."""
