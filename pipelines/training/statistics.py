"""Batch-norm statistics for evaluation, where the training steps compute something else."""

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipelines.training.freezing import training_mode

NUM_BATCHES = 8


def settle_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of a model that discards feature maps by those of full reuse.

    A step that reads m of n groups of maps, scaled by n / m, keeps the mean of what a batch norm sees, but its
    variance is some n / m times that of full reuse, by which evaluation would divide. So the statistics are
    taken anew from the first `NUM_BATCHES` of `batches` (images as the model takes them, on its device), in
    training mode without discarding (the "precise" statistics of Wu and Johnson 2021, arXiv:2105.07576,
    section 3.2); those of frozen layers stay, which torch's `update_bn` would not let them. Mutates the model's
    buffers; advances no generator. Does nothing to other models.
    """
    if not getattr(model, "changes_every_step", False):
        return
    was_training = model.training
    training_mode(model)
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training
    }
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    # nn.Module knows only tensors and modules.
    with torch.no_grad(), torch.random.fork_rng(), model.full_reuse():  # type: ignore[operator]
        for images in islice(batches, NUM_BATCHES):
            model(images)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    if not was_training:
        model.eval()
