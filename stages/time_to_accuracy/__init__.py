"""Stages of `make time_to_accuracy`."""
