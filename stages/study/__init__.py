"""Stages of the experiment `make study` (experiments/study)."""
