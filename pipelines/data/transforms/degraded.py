"""Degraded images, at 20, 60 and 100 percent of the worst (`pipelines.data.degradations`), alone or with the parameter.

Names are degraded_<kind>_<percent> and degraded_<kind>_<percent>_stacked, such as degraded_jpeg_60 (quality 50). The
second form appends a constant channel with the parameter.
"""

import torch
from torch import Tensor

from pipelines.data.degradations import KINDS, degrade, parameter_channel
from pipelines.data.transforms.registry import TRANSFORMS

REGISTERED = (20, 60, 100)


def _register(kind: str, percent: int) -> None:
    @TRANSFORMS.register(f"degraded_{kind}_{percent}")
    def degraded(images: Tensor) -> Tensor:
        """Return the degraded images."""
        return degrade(images, kind, torch.full((len(images),), percent))

    @TRANSFORMS.register(f"degraded_{kind}_{percent}_stacked")
    def stacked(images: Tensor) -> Tensor:
        """Return the degraded images and a channel with the parameter."""
        levels = torch.full((len(images),), percent)
        return torch.cat([degrade(images, kind, levels), parameter_channel(images, levels)], 1)


for _kind in KINDS:
    for _percent in REGISTERED:
        _register(_kind, _percent)
