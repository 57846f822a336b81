import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.data import AugmentConfig, PreparedData, Split
from pipelines.models import build_model
from pipelines.training import RecipeConfig
from tests.configs import make_densenet, make_recipe

# Dropout and discarding draw random numbers in every step: resuming must continue both streams.
DENSENET = make_densenet(
    growth_rate=4,
    bottleneck_width=2,
    dropout=0.1,
    discard_rate=0.25,
    discard_granularity="channel_group",
    discard_group_size=2,
)
AUGMENT = AugmentConfig(crop_padding=1, flip=False, cutout=0)


class RecordingTracker:
    """Keeps what is logged; `interrupt_after` epochs it raises KeyboardInterrupt, as Ctrl-C would."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.metrics: list[tuple[int | None, dict[str, float]]] = []
        self.interrupt_after = interrupt_after

    def log_history(self, history: Sequence[dict[str, Any]]) -> None:
        last = history[-1]
        self.metrics.append((last["epoch"], last))
        if last["epoch"] == self.interrupt_after:
            raise KeyboardInterrupt


@pytest.fixture
def recipe() -> Callable[..., RecipeConfig]:
    return lambda **changes: make_recipe(**{"augment": AUGMENT, **changes})


@pytest.fixture
def model() -> Callable[..., nn.Module]:
    return make_model


def make_model(name: str = "densenet10", **changes: Any) -> nn.Module:
    """Build a small model for the images of `stripes`."""
    config = dataclasses.replace(DENSENET, **changes)
    return build_model(name, num_channels=1, num_classes=3, image_size=8, densenet=config, seed=3)


def stripes(num_images: int, seed: int) -> Split:
    """Three classes of 8x8 images: noise with one bright row, 1, 3 or 5."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (num_images,), generator=generator)
    images = torch.randint(0, 128, (num_images, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images[torch.arange(num_images), 0, 1 + 2 * labels] += 120
    return Split(images, labels)


@pytest.fixture
def data() -> PreparedData:
    return make_data()


def make_data() -> PreparedData:
    """Return 100, 50 and 50 images of `stripes`."""
    return PreparedData(
        name="stripes",
        class_names=("one", "three", "five"),
        mean=(0.3,),
        std=(0.2,),
        checksum="0123",
        train=stripes(100, 0),
        validation=stripes(50, 1),
        test=stripes(50, 2),
    )
