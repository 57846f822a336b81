"""The one-worker reference of the speed-up: steps without any exchange, spread over the run itself."""

import copy

import horovod.torch as hvd
import torch
from torch import nn

from pipelines.parallel.metering.metered import seconds_now
from pipelines.training import RecipeConfig, build_optimizer, compute_gradients


class LocalReference:
    """Times steps of a copy of the model on one batch, on all workers at once, between the training steps.

    Spread over the run they see the same machine as the training steps do: a drift hits both alike. The
    training itself does not notice them: the copy has its own parameters and optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: RecipeConfig,
        batch: tuple[torch.Tensor, torch.Tensor],
        *,
        num_steps: int,
        first: int,
        total: int,
    ) -> None:
        """Plan `num_steps` timed steps (fewer in a shorter run) between the training steps `first` and `total`."""
        self.model = copy.deepcopy(model).train()
        self.optimizer = build_optimizer(self.model, recipe)
        self.images, self.labels = batch
        self.seconds: list[float] = []
        spacing = max(1, (total - first) // num_steps)
        self.planned = set(range(first, total, spacing))
        self._time_step()  # allocations and caches, not kept

    def maybe_step(self, training_step: int) -> float:
        """Time a step if one is planned before `training_step` (from 0); return the seconds spent, 0 if none."""
        if training_step not in self.planned:
            return 0.0
        hvd.barrier()
        seconds = self._time_step()
        self.seconds.append(seconds)
        return seconds

    def _time_step(self) -> float:
        start = seconds_now(self.images.device)
        compute_gradients(self.model, self.optimizer, self.images, self.labels)
        self.optimizer.step()
        return seconds_now(self.images.device) - start
