"""Random changes to whole batches of images, on their device, without a loop over images.

Shape suffixes: b images, c channels, h rows, w columns.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from pipelines.data.config import AugmentConfig


@dataclass(frozen=True)
class Draws:
    """What was drawn for n images; row i belongs to image i, whichever batch or rank it falls to."""

    offsets: torch.Tensor
    """Row and column at which the crop starts in the padded image, int64 [n, 2]."""
    flips: torch.Tensor
    """Whether the image is mirrored, bool [n]."""
    centers: torch.Tensor
    """Row and column of the middle of the cut-out square, int64 [n, 2]."""

    def select(self, indices: torch.Tensor) -> "Draws":
        """Return the draws of the images at `indices` (int64, on the device of the draws)."""
        return Draws(self.offsets[indices], self.flips[indices], self.centers[indices])


def draw(
    config: AugmentConfig, num_images: int, image_size: int, generator: torch.Generator, device: torch.device
) -> Draws:
    """Draw the changes of `num_images` images from the CPU `generator`, then move them to `device`.

    The CPU draws, so that a seed means the same images on every device.
    """
    # Both shapes are drawn in any case: switching one change off leaves the others as they were.
    offsets = torch.randint(0, 2 * config.crop_padding + 1, (num_images, 2), generator=generator)
    flips = torch.rand(num_images, generator=generator) < 0.5
    centers = torch.randint(0, image_size, (num_images, 2), generator=generator)
    return Draws(offsets.to(device), flips.to(device), centers.to(device))


def augment(images_bchw: torch.Tensor, draws: Draws, config: AugmentConfig) -> torch.Tensor:
    """Return normalised float images cropped, mirrored and cut out as drawn; the input is left as it is."""
    if config.crop_padding:
        images_bchw = _crop(images_bchw, draws.offsets, config.crop_padding)
    if config.flip:
        images_bchw = torch.where(draws.flips[:, None, None, None], images_bchw.flip(3), images_bchw)
    if config.cutout:
        images_bchw = _cut_out(images_bchw, draws.centers, config.cutout)
    return images_bchw


def _crop(images_bchw: torch.Tensor, offsets: torch.Tensor, padding: int) -> torch.Tensor:
    height, width = images_bchw.shape[-2:]
    padded = functional.pad(images_bchw, (padding,) * 4)
    # A view of every window; indexing copies one for each image.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    rows = torch.arange(len(images_bchw), device=images_bchw.device)
    return windows[rows, :, offsets[:, 0], offsets[:, 1]]


def _cut_out(images_bchw: torch.Tensor, centers: torch.Tensor, side: int) -> torch.Tensor:
    """Zero a square of `side` pixels around each centre, clipped at the border (DeVries and Taylor 2017)."""
    height, width = images_bchw.shape[-2:]
    starts = centers - side // 2
    rows = torch.arange(height, device=images_bchw.device)[None, :] - starts[:, :1]
    columns = torch.arange(width, device=images_bchw.device)[None, :] - starts[:, 1:]
    inside_rows = (rows >= 0) & (rows < side)
    inside_columns = (columns >= 0) & (columns < side)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return images_bchw.masked_fill(inside, 0.0)
