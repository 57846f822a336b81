"""Prepared data whose images are degraded by levels drawn at random, with what a variant gets beside the image.

Layouts, by what stands in the channels:

    clean: the image; training and validation part as they are, for networks that know of no degradation
    image: the degraded image
    parameter: the degraded image, then its parameter as a constant channel
    constant: the degraded image, then the mean parameter as a constant channel, the same for all
    restoration: the degraded image, then the clean one
"""

import functools
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pipelines.data import PreparedData, Split
from pipelines.data.degradations import LEVELS, degrade, parameter_channel
from pipelines.data.preparation import channel_statistics
from pipelines.data.prepared import SPLITS, checksum_of

LAYOUTS = ("clean", "image", "parameter", "constant", "restoration")
MIDDLE = 50
"""Level whose parameter `constant` shows."""
PARAMETER_MEAN = float(np.mean(LEVELS)) / 100
PARAMETER_STD = float(np.std(LEVELS)) / 100
"""Of the parameter, by which its channel is normalised: all levels are as likely."""


@dataclass(frozen=True)
class _Keyed:
    """Prepared data that are the same where their checksum is."""

    checksum: str
    data: PreparedData = field(compare=False)


def degraded_data(prepared: PreparedData, seed: int, *, kind: str, layout: str) -> PreparedData:
    """Return `prepared` with every image degraded by a level that the seed draws for it, in a layout of the above.

    All layouts of a kind and seed have the same levels. Statistics of the image's channels are those of the training
    part as the variant gets it; a clean image is normalised like the degraded one, so that one is the other's target.
    """
    levels = drawn_levels(prepared, seed)
    degraded = _degraded_once(_Keyed(prepared.checksum, prepared), seed, kind)
    splits: dict[str, Split] = {}
    for name in SPLITS:
        split: Split = getattr(prepared, name)
        spared = layout == "clean" and name != "test"
        images = split.images if spared else arrange(degraded[name], split.images, levels[name], layout)
        splits[name] = replace(split, images=images)
    mean, std = channel_statistics(splits["train"].images[:, : prepared.num_channels])
    if layout in ("parameter", "constant"):
        mean, std = (*mean, PARAMETER_MEAN), (*std, PARAMETER_STD)
    elif layout == "restoration":
        mean, std = 2 * mean, 2 * std
    checksum = checksum_of(splits, prepared.class_names)
    changed = replace(prepared, mean=mean, std=std, checksum=checksum)
    return replace(changed, train=splits["train"], validation=splits["validation"], test=splits["test"])


def at_level(prepared: PreparedData, level: int, *, kind: str, layout: str) -> Split:
    """Return the test part with every image degraded by the same `level`, in a layout."""
    images = prepared.test.images
    degraded = _test_at_level_once(_Keyed(prepared.checksum, prepared), level, kind)
    levels = torch.full((len(images),), level)
    return replace(prepared.test, images=arrange(degraded, images, levels, layout))


def drawn_levels(prepared: PreparedData, seed: int) -> dict[str, Tensor]:
    """Return a level for every image of each part, int64 [n], all of `LEVELS` being as likely."""
    generator = np.random.default_rng((seed, len(LEVELS)))
    choices = np.array(LEVELS)
    return {
        name: torch.from_numpy(generator.choice(choices, len(getattr(prepared, name)))) for name in SPLITS
    }


def arrange(degraded: Tensor, images: Tensor, levels: Tensor, layout: str) -> Tensor:
    """Return `degraded` [n, c, h, w], made of `images` by `levels` [n], with what the layout has behind it."""
    if layout == "parameter":
        return torch.cat([degraded, parameter_channel(images, levels)], 1)
    if layout == "constant":
        return torch.cat([degraded, parameter_channel(images, torch.full_like(levels, MIDDLE))], 1)
    if layout == "restoration":
        return torch.cat([degraded, images], 1)
    return degraded


# All layouts of a kind and all variants share the images; JPEG takes the most time of a short training otherwise.
@functools.lru_cache(maxsize=16)
def _degraded_once(keyed: _Keyed, seed: int, kind: str) -> dict[str, Tensor]:
    levels = drawn_levels(keyed.data, seed)
    return {name: degrade(getattr(keyed.data, name).images, kind, levels[name]) for name in SPLITS}


@functools.lru_cache(maxsize=2 * len(LEVELS))
def _test_at_level_once(keyed: _Keyed, level: int, kind: str) -> Tensor:
    images = keyed.data.test.images
    return degrade(images, kind, torch.full((len(images),), level))
