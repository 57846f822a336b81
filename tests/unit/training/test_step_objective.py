"""An objective that knows which images are in the batch and how far the training is, interrupted and gone on with."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.training import StepObjective, build_optimizer, compute_gradients, train
from tests.configs import make_recipe
from tests.unit.training.conftest import RecordingTracker


class Recording(StepObjective):
    """The cross-entropy, of which it notes what it was told."""

    def __init__(self, true_labels: torch.Tensor) -> None:
        self.true_labels = true_labels
        self.told: list[tuple[int, list[int]]] = []

    def __call__(self, logits, labels, images, facts):
        assert torch.equal(self.true_labels[facts.indices], labels)
        assert len(images) == len(labels)
        self.told.append((facts.epoch, facts.indices.tolist()))
        return functional.cross_entropy(logits[:, :3], labels)


class Wider(nn.Module):
    """A network that returns more than logits in training; behind them, the largest value of all."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.spec = model, model.spec

    def forward(self, images):
        logits = self.model(images)
        return torch.cat([logits, torch.full_like(logits, 1e6)], 1) if self.training else logits


def run(model, data, recipe, folder, objective, interrupt_after=None):
    tracker = RecordingTracker(interrupt_after)
    return train(model, data, recipe, folder=folder, tracker=tracker, description="test", objective=objective)


def test_every_step_is_told_its_images_and_its_epoch_also_after_an_interruption(
    model, data, recipe, tmp_path
) -> None:
    whole, before, after = (Recording(data.train.labels) for _ in range(3))
    unbroken = run(model(), data, recipe(epochs=3), tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run(model(), data, recipe(epochs=3), tmp_path / "broken", before, interrupt_after=2)
    resumed = run(model(), data, recipe(epochs=3), tmp_path / "broken", after)
    assert before.told + after.told == whole.told
    assert sorted({epoch for epoch, _ in whole.told}) == [0, 1, 2]
    for epoch in range(3):
        seen = [index for number, indices in whole.told if number == epoch for index in indices]
        assert len(set(seen)) == len(seen) > 0
    assert [row["train_loss"] for row in resumed.history] == [row["train_loss"] for row in unbroken.history]


def test_what_stands_behind_the_logits_is_not_counted(model, data, recipe, tmp_path) -> None:
    plain = run(model("compact3"), data, recipe(), tmp_path / "plain", None)
    wider = run(Wider(model("compact3")), data, recipe(), tmp_path / "wider", Recording(data.train.labels))
    keys = ("train_loss", "train_accuracy", "validation_accuracy")
    for one, other in zip(plain.history, wider.history, strict=True):
        assert [one[key] for key in keys] == [other[key] for key in keys]


def test_a_batch_without_facts_is_a_mistake_of_the_caller(model, data) -> None:
    network = model()
    objective = Recording(data.train.labels)
    with pytest.raises(AssertionError):
        compute_gradients(
            network,
            build_optimizer(network, make_recipe()),
            torch.randn(4, 1, 8, 8),
            torch.arange(4) % 3,
            objective=objective,
        )
