"""Which positions stop when in training, and the weights of pixels in the loss: the three passes of Covell et al. 2017.

none: all positions are coded in all iterations. random: some stop at random iterations, and what surrounds them counts
more. quality: a position stops when its block has a quality, drawn anew for each image, and what is still coded, the
detailed areas, counts more.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PEAK = 255.0
"""Greatest grey level, of which a PSNR speaks."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How positions stop in a training pass; as it stands: never."""

    random_share: float = 0.0
    """Probability with which a position stops at an iteration drawn evenly."""
    qualities: tuple[float, float] | None = None
    """A position stops when its block has a PSNR in dB, drawn evenly between these for each image; None: never."""
    added_weight: float = 0.0
    """What is added to the weight 1 of pixels in blocks that are still coded; with random masks alone, of those of them
    that lie beside one that has stopped."""

    def draw_stops(
        self, positions: tuple[int, int, int], iterations: int, device: torch.device
    ) -> Tensor | None:
        """Return after how many iterations, 0 to `iterations`, each of the positions [b, p, q] stops; None: never."""
        if self.random_share == 0:
            return None
        stopped = torch.rand(positions, device=device) < self.random_share
        when = torch.randint(0, iterations, positions, device=device)
        return torch.where(stopped, when, iterations)

    def draw_limits(self, num_images: int, device: torch.device) -> Tensor | None:
        """Return the squared errors [b, 1, 1] at which a block stops; None: never."""
        if self.qualities is None:
            return None
        low, high = self.qualities
        return squared_error_at(low + (high - low) * torch.rand(num_images, 1, 1, device=device))

    def weights(self, active: Tensor) -> Tensor:
        """Return the weights float [b, p, q] of the pixels of positions, of which `active` are still coded."""
        counted = active.float()
        if self.qualities is None:
            stopped = 1 - counted
            counted = counted * functional.max_pool2d(stopped.unsqueeze(1), 3, 1, padding=1).squeeze(1)
        return 1 + self.added_weight * counted


def squared_error_at(psnr: Tensor) -> Tensor:
    """Return the mean squared error, in grey levels of 0..255 squared, of a PSNR in dB."""
    return PEAK**2 * torch.exp(psnr * (-math.log(10) / 10))


def blocks_of(values: Tensor, stride: int) -> Tensor:
    """Return the means [b, p, q] of `values` [b, c, h, w] over channels and blocks of `stride` x `stride` pixels."""
    return functional.avg_pool2d(values.mean(1, keepdim=True), stride).squeeze(1)


def pixels_of(values: Tensor, stride: int) -> Tensor:
    """Return values of positions [b, p, q] as those of their pixels [b, 1, h, w]."""
    return values.repeat_interleave(stride, 1).repeat_interleave(stride, 2).unsqueeze(1)
