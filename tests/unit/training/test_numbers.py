"""A loss or a gradient that is not finite stops the training before the step, and the checkpoints stay good."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.training import DivergedError, load_checkpoint
from tests.unit.training.test_loop import run, states_equal, without_time

STEPS_PER_EPOCH = 6  # 100 images in batches of 16, the last left out


class Poison:
    """Makes one training step of `model` not finite, and keeps the parameters as they were before it."""

    def __init__(self, model: nn.Module, what: str, value: float, step: int) -> None:
        self.model, self.what, self.value, self.step = model, what, value, step
        self.steps = 0
        self.before: list[torch.Tensor] = []
        model.register_forward_hook(self._after_forward)
        next(iter(model.parameters())).register_hook(self._on_gradient)

    @property
    def active(self) -> bool:
        """Whether the step under way is the poisoned one."""
        return self.model.training and self.steps == self.step

    def _after_forward(self, model: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not (model.training and torch.is_grad_enabled()):  # statistics are settled without gradients
            return None
        self.steps += 1
        if not self.active:
            return None
        self.before = [parameter.detach().clone() for parameter in model.parameters()]
        return output * self.value if self.what == "loss" else None

    def _on_gradient(self, gradient: torch.Tensor) -> torch.Tensor | None:
        return gradient * self.value if self.active and self.what == "gradient" else None


CASES = pytest.mark.parametrize(
    ("what", "value"),
    [("loss", math.nan), ("loss", math.inf), ("gradient", math.nan), ("gradient", math.inf)],
)


@CASES
def test_the_last_good_checkpoint_is_kept_and_resumed(model, data, recipe, tmp_path, what, value):
    whole, _ = run(model(), data, recipe(), tmp_path / "whole")
    network = model()
    Poison(network, what, value, step=2 * STEPS_PER_EPOCH + 3)
    with pytest.raises(DivergedError, match=r"in epoch 3; lower recipe\.learning_rate \(0\.1\)"):
        run(network, data, recipe(), tmp_path / "parts")
    assert load_checkpoint(tmp_path / "parts" / "last.pt").epoch == 2
    resumed, tracker = run(model(), data, recipe(), tmp_path / "parts")
    assert [step for step, _ in tracker.metrics] == [3, 4]
    assert without_time(resumed.history) == without_time(whole.history)
    assert states_equal(tmp_path / "whole" / "last.pt", tmp_path / "parts" / "last.pt")


@CASES
def test_no_step_is_made_from_a_number_that_is_not_finite(model, data, recipe, tmp_path, what, value):
    network = model()
    poison = Poison(network, what, value, step=STEPS_PER_EPOCH + 2)
    with pytest.raises(DivergedError):
        run(network, data, recipe(), tmp_path)
    assert poison.steps == STEPS_PER_EPOCH + 2, "steps were made after it"
    assert all(map(torch.equal, poison.before, network.parameters())), "the step was made"
