"""Batch-norm statistics for evaluation, where the training steps compute something else."""

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

NUM_BATCHES = 8


def settle_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of a model that discards feature maps by those of full reuse.

    A step that reads m of n groups of maps, scaled by n / m, keeps the mean of what a batch norm sees, but its
    variance is some n / m times that of full reuse, by which evaluation would divide. So the statistics are
    taken anew from the first `NUM_BATCHES` of `batches` (images as the model takes them, on its device), in
    training mode without discarding (the "precise" statistics of Wu and Johnson 2021, arXiv:2105.07576,
    section 3.2). Mutates the model's buffers; advances no generator. Does nothing to other models.
    """
    if getattr(model, "changes_every_step", False):
        # nn.Module knows only tensors and modules.
        with torch.random.fork_rng(), model.full_reuse():  # type: ignore[operator]
            update_bn(islice(batches, NUM_BATCHES), model)
