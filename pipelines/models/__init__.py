"""Models by name: DenseNets of any depth with a block rule, and small-image baselines.

A model is one module with an entry decorated by `MODELS.register`; importing this package registers all. Variants
(`VARIANTS`: expanded, pruned, quantized, ...) change a model of any of these and are part of its name.
"""

from importlib import import_module
from pkgutil import iter_modules

from pipelines.models.base import (
    MODELS,
    VARIANTS,
    ModelSpec,
    base_of,
    build_from_spec,
    build_model,
    build_model_for,
    find_factory,
    is_densenet,
    spec_of,
)
from pipelines.models.config import DenseNetConfig
from pipelines.models.statistics import count_multiply_adds, count_parameters

__all__ = [
    "MODELS",
    "VARIANTS",
    "DenseNetConfig",
    "ModelSpec",
    "base_of",
    "build_from_spec",
    "build_model",
    "build_model_for",
    "count_multiply_adds",
    "count_parameters",
    "find_factory",
    "is_densenet",
    "spec_of",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
