from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from pipelines.models import DenseNetConfig, build_model
from tests.configs import make_densenet


@pytest.fixture
def densenet_config() -> Callable[..., DenseNetConfig]:
    """DenseNet-BC at growth rate 12, any field replaced."""
    return make_densenet


@pytest.fixture
def build(densenet_config: Callable[..., DenseNetConfig]) -> Callable[..., nn.Module]:
    """Build a model by name for `channels` x `size` x `size` images; other keywords go to the DenseNet config."""

    def make(name: str, channels: int = 3, size: int = 32, seed: int = 0, **changes: Any) -> nn.Module:
        return build_model(
            name,
            num_channels=channels,
            num_classes=10,
            image_size=size,
            densenet=densenet_config(**changes),
            seed=seed,
        )

    return make
