"""All gradients of a model in one fp32 vector: what is compressed of it, and what is not."""

from collections.abc import Sequence

import torch
from torch import nn

from horovod_gq.buckets import check_parameters
from pipelines.errors import UserError

MIN_NUMEL = 1024
"""Tensors with fewer elements travel in fp32, as all 1-D ones do: GQ's and CGX's (Markov 2022) limit."""


def is_compressed(shape: Sequence[int]) -> bool:
    """Tell whether a tensor of this shape is compressed: a matrix or more, of at least `MIN_NUMEL` elements."""
    return len(shape) > 1 and torch.Size(shape).numel() >= MIN_NUMEL


def split(vector: torch.Tensor, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    """Return views of consecutive pieces of a 1-D `vector` with the given shapes."""
    pieces = torch.split(vector, [shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


class FlatGradients:
    """All gradients of a model in one fp32 vector: the small tensors, a status value, the large tensors.

    `small` (status included) travels uncompressed, `large` is what a strategy compresses, its tensors have
    `shapes`. The status is 0, or NaN when a gradient is not finite, and an average keeps that.

    Raises ValueError for parameters that are not fp32 or lie on several devices.
    """

    def __init__(self, model: nn.Module, *, compress: bool = True) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        check_parameters(named)
        parameters = [parameter for _, parameter in named]
        small = [p for p in parameters if not (compress and is_compressed(p.shape))]
        large = [p for p in parameters if compress and is_compressed(p.shape)]
        self.parameters = [*small, *large]
        self.shapes = [p.shape for p in large]
        num_small = sum(p.numel() for p in small) + 1
        num_large = sum(p.numel() for p in large)
        self.flat = torch.zeros(num_small + num_large, device=parameters[0].device)
        self.small, self.large = self.flat[:num_small], self.flat[num_small:]
        self._status = self.small[-1:]
        self.views = [
            *split(self.small[:-1], [p.shape for p in small]),
            *split(self.large, self.shapes),
        ]

    @torch.no_grad()
    def collect(self) -> None:
        """Copy the gradients into `flat` and set the status; a missing gradient counts as zero."""
        targets, sources = [], []
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.grad is None:
                view.zero_()
            elif parameter.grad.data_ptr() != view.data_ptr():
                targets.append(view)
                sources.append(parameter.grad)
        if targets:
            torch._foreach_copy_(targets, sources)
        self._status.zero_()
        self._status.copy_(self.flat.sum().mul_(0.0))

    def release(self) -> None:
        """Make `flat` the gradients of the parameters; raises UserError when the status says not finite."""
        if not bool(torch.isfinite(self._status)):
            raise UserError(
                "a gradient is not finite on at least one worker; lower recipe.learning_rate or check the data"
            )
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view
