"""What the workers must agree on: parameters bit for bit, batch-norm statistics by averaging."""

import hashlib

import horovod.torch as hvd
import torch
from torch import nn


def parameter_digest(model: nn.Module) -> str:
    """Return the SHA-256 of all parameters in order, bit for bit."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def replicas_identical(model: nn.Module) -> bool:
    """Tell whether every worker holds bit-identical parameters (a collective: call it on all)."""
    return len(set(hvd.allgather_object(parameter_digest(model)))) == 1


def average_buffers(model: nn.Module) -> None:
    """Replace floating-point buffers (batch-norm statistics) by their mean over the workers, in place."""
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(hvd.allreduce(buffer, name=f"buffer.{name}", op=hvd.Average))
