"""Batches of normalised images, assembled from a data set that lies in memory as uint8 on the device."""

from collections.abc import Iterator

import numpy as np
import torch

from pipelines.data.augment import Draws, augment, draw
from pipelines.data.config import AugmentConfig
from pipelines.data.prepared import PreparedData, Split


class Batches:
    """An epoch of batches (images float32 [b, c, h, w], labels int64 [b]), on `device`.

    Order and augmentation are a pure function of (seed, epoch) and of an image's place in the split: a run
    that resumes at an epoch sees what an unbroken run sees. Step k of `num_workers` ranks together covers
    the images that step k of a single rank with `num_workers` times the batch size covers, changed alike.

    Parameters
    ----------
    split: the images; copied to `device` once, as uint8.
    batch_size: images a rank takes in one step.
    mean, std: per channel, of pixels in 0..1; images leave as (pixel / 255 - mean) / std.
    seed: fixes the order and the augmentation of all epochs.
    augment: random changes, or None.
    shuffle: whether each epoch has its own order.
    drop_last: whether images that fill no step of all ranks are left out this epoch. Otherwise they make a
        smaller last step; where they are fewer than the ranks, they join the step before, so that all
        ranks take equally many steps.
    rank, num_workers: which disjoint part of every step is taken.

    Raises ValueError where a split is too small to give every rank a batch.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        seed: int,
        device: torch.device | str,
        augment: AugmentConfig | None,
        shuffle: bool,
        drop_last: bool,
        rank: int = 0,
        num_workers: int = 1,
    ) -> None:
        minimum = batch_size * num_workers if drop_last else num_workers
        if batch_size < 1 or len(split) < minimum:
            raise ValueError(
                f"batch_size: {batch_size} x {num_workers} workers is not allowed; "
                f"allowed: 1 to {len(split) // num_workers} for a split of {len(split)} images"
            )
        self.device = torch.device(device)
        self.seed = seed
        self.shuffle = shuffle
        self.augment = augment
        self._images = split.images.to(self.device)
        self._labels = split.labels.to(self.device)
        shape = (1, -1, 1, 1)
        stds = torch.tensor(std, dtype=torch.float64)
        self._scale = (1 / (255 * stds)).float().view(shape).to(self.device)
        self._shift = (-torch.tensor(mean, dtype=torch.float64) / stds).float().view(shape).to(self.device)
        self._borders = _step_borders(len(split), batch_size * num_workers, num_workers, drop_last)
        self._rank, self._num_workers = rank, num_workers
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration runs over; it is 0 at first."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._borders) - 1

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _, images, labels in self.indexed():
            yield images, labels

    def indexed(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Do the same with the places of the images in the split before them, int64 [b]."""
        order, draws = self._plan()
        for start, end in zip(self._borders, self._borders[1:], strict=False):
            indices = order[start:end][self._rank :: self._num_workers]
            pixels = self._images.index_select(0, indices)
            images = pixels.to(torch.float32).mul_(self._scale).add_(self._shift)
            if self.augment is not None and draws is not None:
                images = augment(images, draws.select(indices), self.augment)
            yield indices, images, self._labels.index_select(0, indices)

    def _plan(self) -> tuple[torch.Tensor, Draws | None]:
        """Draw the order and the changes of the epoch; both hold for the whole split, on every rank."""
        generator = torch.Generator()
        # SeedSequence mixes, so that (seed, epoch + 1) and (seed + 1, epoch) share nothing.
        state = np.random.SeedSequence((self.seed, self._epoch)).generate_state(1, np.uint64)
        generator.manual_seed(int(state[0]))
        num_images = len(self._labels)
        order = torch.randperm(num_images, generator=generator) if self.shuffle else torch.arange(num_images)
        draws = None
        if self.augment is not None:
            draws = draw(self.augment, num_images, self._images.shape[-1], generator, self.device)
        return order.to(self.device), draws


def training_batches(
    data: PreparedData,
    batch_size: int,
    *,
    seed: int,
    device: torch.device | str,
    augment: AugmentConfig | None,
    rank: int = 0,
    num_workers: int = 1,
) -> Batches:
    """Return the training part in an order of its own each epoch, without the images that fill no step of all ranks."""
    return Batches(
        data.train,
        batch_size,
        mean=data.mean,
        std=data.std,
        seed=seed,
        device=device,
        augment=augment,
        shuffle=True,
        drop_last=True,
        rank=rank,
        num_workers=num_workers,
    )


def ordered_batches(
    split: Split, data: PreparedData, batch_size: int, device: torch.device | str = "cpu"
) -> Batches:
    """Return every image of a `split` of `data` once, in its order, unchanged but for the normalisation."""
    return Batches(
        split,
        batch_size,
        mean=data.mean,
        std=data.std,
        seed=0,
        device=device,
        augment=None,
        shuffle=False,
        drop_last=False,
    )


def _step_borders(num_images: int, step_size: int, num_workers: int, drop_last: bool) -> list[int]:
    """Return where each step of all ranks starts in the order, and where the last one ends."""
    num_full, num_left = divmod(num_images, step_size)
    borders = [step * step_size for step in range(num_full + 1)]
    if drop_last or num_left == 0:
        return borders
    if num_left < num_workers:
        return [*borders[:-1], num_images]
    return [*borders, num_images]
