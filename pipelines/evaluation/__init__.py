"""Evaluation of trained models on the test part."""

from pipelines.evaluation.config import EvaluateConfig

__all__ = ["EvaluateConfig"]
