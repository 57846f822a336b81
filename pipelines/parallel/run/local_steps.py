"""The one-worker reference of the speed-up: steps without any exchange, spread over the run itself."""

import copy

import horovod.torch as hvd
import torch
from torch import nn

from pipelines.parallel.traces.recorder import Sample, StepRecorder
from pipelines.training import Objective, RecipeConfig, StepFacts, build_optimizer, training_mode


class LocalReference:
    """Times steps of a copy of the model on one batch, on all workers at once, between the training steps.

    Spread over the run they see the same machine as the training steps do: a drift hits both alike. The
    training itself does not notice them: the copy has its own parameters and optimizer. Their parts, tensor by
    tensor, make the run's trace.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: RecipeConfig,
        batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        *,
        objective: Objective | None,
        num_steps: int,
        first: int,
        total: int,
    ) -> None:
        """Plan `num_steps` timed steps (fewer in a shorter run) between the training steps `first` and `total`.

        `batch` holds the places of the images in the training part, images and labels.
        """
        replica = copy.deepcopy(model)
        training_mode(replica)
        self.recorder = StepRecorder(replica, build_optimizer(replica, recipe), objective)
        indices, self.images, self.labels = batch
        self.facts = StepFacts(indices=indices, epoch=0)
        spacing = max(1, (total - first) // num_steps)
        self.planned = set(range(first, total, spacing))
        self._step()  # allocations and caches, not kept

    def maybe_step(self, training_step: int) -> float:
        """Time a step if one is planned before `training_step` (from 0); return the seconds spent, 0 if none."""
        if training_step not in self.planned:
            return 0.0
        hvd.barrier()
        self.recorder.samples.append(self._step())
        return self.seconds[-1]

    def _step(self) -> Sample:
        return self.recorder.step(self.images, self.labels, self.facts)

    @property
    def seconds(self) -> list[float]:
        """Seconds of each timed step."""
        return [forward + backward + update for *_, forward, backward, update in self.recorder.samples]
