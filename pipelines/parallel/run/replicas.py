"""What the workers must agree on: parameters bit for bit, batch-norm statistics by averaging."""

import hashlib

import horovod.torch as hvd
import torch
from torch import nn

from horovod_gq.collectives import Collectives


def parameter_digest(model: nn.Module) -> str:
    """Return the SHA-256 of all parameters in order, bit for bit."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        values = parameter.detach().cpu().reshape(-1)  # a scalar cannot be viewed as bytes
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def replicas_identical(model: nn.Module) -> bool:
    """Tell whether every worker holds bit-identical parameters (a collective: call it on all)."""
    return len(set(hvd.allgather_object(parameter_digest(model)))) == 1


@torch.no_grad()
def average_buffers(model: nn.Module, collectives: Collectives, scope: str = "") -> None:
    """Replace floating-point buffers (batch-norm statistics) by their mean over the workers, in place.

    Those of modules in evaluation mode, the frozen ones, have not moved and are equal already: a mean of three of them
    could round. One collective, named `scope` + "buffers": call it on all.
    """
    moving = [module for module in model.modules() if module.training]
    buffers = [
        buffer for module in moving for buffer in module.buffers(recurse=False) if buffer.is_floating_point()
    ]
    if not buffers:
        return
    flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
    mean = collectives.start_sum(flat, f"{scope}buffers").wait() / collectives.workers
    for buffer, part in zip(buffers, torch.split(mean, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))
