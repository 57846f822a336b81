"""Stages of the experiment `make related` (experiments/related)."""
