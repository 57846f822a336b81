"""Stages of the experiment `make convergence` (experiments/convergence)."""
