"""Models by name: DenseNets of any depth with a block rule, and small-image baselines."""

from pipelines.models import densenet, efficientnet, resnet, vgg  # noqa: F401  (they register themselves)
from pipelines.models.base import (
    MODELS,
    ModelSpec,
    build_from_spec,
    build_model,
    build_model_for,
    find_factory,
    spec_of,
)
from pipelines.models.config import DenseNetConfig
from pipelines.models.statistics import count_multiply_adds, count_parameters

__all__ = [
    "MODELS",
    "DenseNetConfig",
    "ModelSpec",
    "build_from_spec",
    "build_model",
    "build_model_for",
    "count_multiply_adds",
    "count_parameters",
    "find_factory",
    "spec_of",
]
