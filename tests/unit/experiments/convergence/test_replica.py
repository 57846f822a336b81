"""The test part is scored once, shared by the workers."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.data import PreparedData, Split
from pipelines.experiments.convergence.replica import scores
from pipelines.parallel.virtual_cluster import run_workers
from pipelines.results import Row

CLASSES = ("cat", "dog", "frog")


class Counting(nn.Module):
    """A linear model that remembers how many images it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, len(CLASSES))
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return torch.as_tensor(self.head(images.flatten(1)))


@pytest.mark.parametrize(("workers", "num_images"), [(2, 10), (3, 10), (7, 4)])
def test_shares_of_all_workers_make_the_score_of_one(workers: int, num_images: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 1, 4, 4), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.randint(0, len(CLASSES), (num_images,), generator=generator))
    parts = {"train": split, "validation": split, "test": split}
    data = PreparedData(name="x", class_names=CLASSES, mean=(0.5,), std=(0.25,), checksum="c", **parts)
    models = [Counting() for _ in range(workers)]
    for model in models:
        model.load_state_dict(models[0].state_dict())

    def work(collectives: Any) -> Row:
        return scores(models[collectives.rank], data, collectives)

    found = run_workers(workers, work)
    with torch.no_grad():
        logits = models[0].head((images.flatten(1) / 255 - 0.5) / 0.25)
    loss = float(functional.cross_entropy(logits, split.labels))
    accuracy = float((logits.argmax(1) == split.labels).float().mean())
    for row in found:
        assert row == {"test_loss": pytest.approx(loss, rel=1e-6), "test_accuracy": pytest.approx(accuracy)}
    assert sum(model.seen for model in models) == num_images
