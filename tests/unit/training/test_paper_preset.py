"""The paper preset on a CPU, for a few steps: its DenseNet-100 on images of CIFAR-10's size."""

import dataclasses
import math
from pathlib import Path

import torch

from pipelines.config.loader import from_mapping
from pipelines.data import PreparedData, Split
from pipelines.models import DenseNetConfig, build_model, count_parameters
from pipelines.training import RecipeConfig, train
from tests.configs import composed
from tests.unit.training.conftest import RecordingTracker

PUBLISHED_PARAMETERS = 769_162  # of DenseNet-BC, L = 100, k = 12; the paper rounds it to 0.8 M
EPOCHS = 4
"""One step each; the milestones, shares of the epochs, fall behind the second and the third."""
BATCH = 16


def noise(num_images: int, seed: int) -> Split:
    """Random images [num_images, 3, 32, 32] uint8 of ten classes."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num_images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(num_images) % 10)


def test_the_paper_preset_trains_and_lowers_its_rate(tmp_path: Path) -> None:
    preset = composed("scale=paper")
    paper = from_mapping(RecipeConfig, preset["recipe"], "recipe")
    assert (paper.epochs, paper.batch_size) == (300, 64)
    recipe = dataclasses.replace(paper, epochs=EPOCHS, batch_size=BATCH)
    densenet = from_mapping(DenseNetConfig, preset["densenet"], "densenet")
    model = build_model(
        "densenet100", num_channels=3, num_classes=10, image_size=32, densenet=densenet, seed=recipe.seed
    )
    assert count_parameters(model) == PUBLISHED_PARAMETERS
    data = PreparedData(
        name="noise",
        class_names=tuple("0123456789"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        checksum="0123",
        train=noise(BATCH, 0),
        validation=noise(20, 1),
        test=noise(20, 2),
    )
    start = [parameter.detach().clone() for parameter in model.parameters()]
    result = train(model, data, recipe, folder=tmp_path, tracker=RecordingTracker(), description="paper")
    rates = [row["learning_rate"] for row in result.history]
    assert rates == [0.1, 0.1, 0.1 * 0.1, 0.1 * 0.1**2]
    assert all(math.isfinite(row["train_loss"]) for row in result.history)
    moved = [not torch.equal(*pair) for pair in zip(start, model.parameters(), strict=True)]
    assert all(moved), "a parameter without a gradient"
