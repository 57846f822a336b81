"""Evaluation of trained models on the test part."""

from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.stage import evaluate

__all__ = ["EvaluateConfig", "evaluate"]
