"""What the workers must agree on: parameters bit for bit, batch-norm statistics by averaging."""

import hashlib
from collections.abc import Iterable

import horovod.torch as hvd
import torch
from torch import nn

from horovod_gq.collectives import Collectives
from pipelines.models.quantization import waits_for_data

Batch = tuple[torch.Tensor, torch.Tensor]


def start_alike(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Give all workers rank 0's parameters and buffers (a collective), in place.

    A quantizer that the first of `batches` starts is started before: the workers' batches differ.
    """
    if waits_for_data(model):
        images, _ = next(iter(batches))
        with torch.no_grad():
            model.train()(images)
    broadcast(model.state_dict())


def broadcast(state: dict[str, torch.Tensor]) -> None:
    """Give all workers the tensors of rank 0, in place; Horovod takes no bool and nothing that is not contiguous."""
    sent = {name: (one.view(torch.uint8) if one.dtype is torch.bool else one) for name, one in state.items()}
    sent = {name: one.detach().contiguous() for name, one in sent.items()}
    hvd.broadcast_parameters(sent, root_rank=0)
    for name, one in state.items():
        one.detach().copy_(sent[name])


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
