"""The feature maps of a dense block, as its layers append to them and read them.

Every layer of a dense block reads all earlier outputs through a batch normalisation of its own. The statistics
of a feature map are the same for all its readers, so each map is normalised once, where it is appended, and a
reader only applies its own scale and shift: the published network, at a fraction of its memory traffic.

Two implementations of one interface: `ConcatenatedFeatures` is plain autograd, for compilers, exporters and as
reference; `pipelines.models.shared.SharedFeatures` keeps a single copy of the maps.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pipelines.models.reuse import Kept


class Features(Protocol):
    """The normalised feature maps of one block in one forward pass, c channels so far."""

    def append(self, maps: Tensor, norm: nn.BatchNorm2d) -> None:
        """Normalise `maps` [b, k, h, w] by `norm` (without affine part; statistics updated) and append them."""
        ...

    def read(self, scale: Tensor, shift: Tensor, weight: Tensor, kept: Kept | None) -> Tensor:
        """Return the convolution of relu(scale * maps + shift), padded to the same size, [b, out, h, w].

        `scale`, `shift` [c] and `weight` [out, c, kernel, kernel] are those of all maps; with `kept` only its
        maps are read, and the result is multiplied by its factor.
        """
        ...

    def activate(self, scale: Tensor, shift: Tensor) -> Tensor:
        """Return relu(scale * maps + shift) [b, c, h, w] for `scale` and `shift` [c]."""
        ...


class ConcatenatedFeatures:
    """Feature maps that each reader concatenates anew; `recompute` redoes that in the backward pass."""

    def __init__(self, *, recompute: bool) -> None:
        self._maps: list[Tensor] = []
        self._recompute = recompute

    def append(self, maps: Tensor, norm: nn.BatchNorm2d) -> None:
        """See Features."""
        self._maps.append(norm(maps))

    def read(self, scale: Tensor, shift: Tensor, weight: Tensor, kept: Kept | None) -> Tensor:
        """See Features."""
        if self._recompute and torch.is_grad_enabled():
            arguments = (scale, shift, weight, kept, *self._maps)
            return checkpoint(_read, *arguments, use_reentrant=False)  # type: ignore[no-any-return]
        return _read(scale, shift, weight, kept, *self._maps)

    def activate(self, scale: Tensor, shift: Tensor) -> Tensor:
        """See Features."""
        return _scale_shift_relu(torch.cat(self._maps, 1), scale, shift)


def _read(scale: Tensor, shift: Tensor, weight: Tensor, kept: Kept | None, *maps: Tensor) -> Tensor:
    if kept is not None:
        maps = _slices(maps, kept)
        index = torch.tensor(kept.channels, device=weight.device)
        scale, shift = scale[index], shift[index]
        weight = weight.index_select(1, index) * kept.factor
    features = torch.cat(maps, 1)
    return functional.conv2d(_scale_shift_relu(features, scale, shift), weight, padding=weight.shape[-1] // 2)


def _slices(maps: Sequence[Tensor], kept: Kept) -> tuple[Tensor, ...]:
    """Return views of the kept channels, in order; a part for each tensor that a run reaches into."""
    parts, start = [], 0
    for one in maps:
        stop = start + one.shape[1]
        for run in kept.runs:
            low, high = max(run.start, start), min(run.stop, stop)
            if low < high:
                parts.append(one[:, low - start : high - start])
        start = stop
    return tuple(parts)


def _scale_shift_relu(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift[:, None, None], features, scale[:, None, None]).relu()
