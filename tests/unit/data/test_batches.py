import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data import AugmentConfig, Batches, Split
from pipelines.data.augment import Draws, augment

MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.125)
ALL = AugmentConfig(crop_padding=2, flip=True, cutout=3)


def make_split(num_images: int, size: int = 4) -> Split:
    """Return images that differ in every pixel and labels that are the image's number."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 3, size, size), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(num_images))


def make_batches(split: Split, batch_size: int, **changes: Any) -> Batches:
    values: dict[str, Any] = {
        "mean": MEAN,
        "std": STD,
        "seed": 7,
        "device": "cpu",
        "augment": None,
        "shuffle": True,
        "drop_last": False,
    }
    return Batches(split, batch_size, **(values | changes))


def labels_of(batches: Batches) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def test_indices_are_the_places_of_the_images_in_the_split() -> None:
    split = make_split(25)
    for rank in range(2):
        batches = make_batches(split, 4, rank=rank, num_workers=2, augment=ALL)
        batches.set_epoch(3)
        plain = list(batches)
        for (indices, images, labels), (same, also) in zip(batches.indexed(), plain, strict=True):
            assert torch.equal(indices, labels)  # a label is the image's number here
            assert torch.equal(images, same)
            assert torch.equal(labels, also)


@settings(max_examples=80, deadline=None)
@given(
    num_images=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    num_workers=st.integers(1, 5),
    drop_last=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_ranks_are_disjoint_cover_everything_and_step_together(
    num_images: int, batch_size: int, num_workers: int, drop_last: bool, epoch: int
) -> None:
    split = make_split(num_images)
    if num_images < (batch_size * num_workers if drop_last else num_workers):
        with pytest.raises(ValueError, match="batch_size"):
            make_batches(split, batch_size, num_workers=num_workers, drop_last=drop_last)
        return
    ranks = []
    for rank in range(num_workers):
        batches = make_batches(split, batch_size, rank=rank, num_workers=num_workers, drop_last=drop_last)
        batches.set_epoch(epoch)
        ranks.append(labels_of(batches))
        assert len(ranks[-1]) == len(batches)
    assert len({len(steps) for steps in ranks}) == 1
    assert all(labels for steps in ranks for labels in steps)
    seen = sorted(itertools.chain(*itertools.chain(*ranks)))
    assert len(set(seen)) == len(seen)
    if drop_last:
        assert all(len(labels) == batch_size for steps in ranks for labels in steps)
        assert num_images - len(seen) < batch_size * num_workers
    else:
        assert seen == list(range(num_images))


def test_ranks_together_see_what_one_rank_sees() -> None:
    """Images too, augmentation included: N ranks at batch size B are one rank at N x B."""
    split = make_split(23)
    ranks = [list(make_batches(split, 3, rank=rank, num_workers=2, augment=ALL)) for rank in range(2)]
    alone = list(make_batches(split, 6, augment=ALL))
    for first, second, (images, labels) in zip(*ranks, alone, strict=True):
        order = labels.argsort()
        together = torch.cat([first[1], second[1]])
        assert torch.equal(together.sort().values, labels[order])
        assert torch.equal(torch.cat([first[0], second[0]])[together.argsort()], images[order])


def test_order_is_a_function_of_seed_and_epoch() -> None:
    split = make_split(40)
    batches = make_batches(split, 8, augment=ALL)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    resumed = make_batches(split, 8, augment=ALL)
    resumed.set_epoch(1)
    for (images, labels), (other_images, other_labels) in zip(second, resumed, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
    assert [labels.tolist() for _, labels in first] != [labels.tolist() for _, labels in second]
    assert labels_of(make_batches(split, 8)) != labels_of(make_batches(split, 8, seed=8))
    assert labels_of(make_batches(split, 40, shuffle=False)) == [list(range(40))]


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(make_batches(make_split(9), 3, augment=ALL))
    assert torch.equal(before, torch.get_rng_state())


def test_images_are_normalised() -> None:
    split = make_split(5)
    ((images, labels),) = make_batches(split, 5, shuffle=False)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, STD))
    expected = (split.images.double() / 255 - mean) / std
    # Values reach 7; scale, shift and their sum round in float32: three times 2^-24 relative.
    assert torch.allclose(images.double(), expected, rtol=0, atol=3 * 7 * 2**-24)


def reference_augment(
    image: torch.Tensor, offset: Any, flip: bool, center: Any, config: AugmentConfig
) -> Any:
    """Change one image [c, h, w] pixel by pixel."""
    channels, height, width = image.shape
    result = torch.zeros_like(image)
    for row, column in itertools.product(range(height), range(width)):
        source_column = width - 1 - column if config.flip and flip else column
        source = (row + offset[0] - config.crop_padding, source_column + offset[1] - config.crop_padding)
        if 0 <= source[0] < height and 0 <= source[1] < width:
            result[:, row, column] = image[:, source[0], source[1]]
        top, left = (int(place) - config.cutout // 2 for place in center)
        if top <= row < top + config.cutout and left <= column < left + config.cutout:
            result[:, row, column] = 0
    assert channels == result.shape[0]
    return result


@pytest.mark.parametrize("crop_padding", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("cutout", [0, 3, 4])
def test_batched_augmentation_equals_a_loop_over_pixels(crop_padding: int, flip: bool, cutout: int) -> None:
    config = AugmentConfig(crop_padding=crop_padding, flip=flip, cutout=cutout)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(30, 3, 5, 5, generator=generator)
    before = images.clone()
    draws = Draws(
        torch.randint(0, 2 * crop_padding + 1, (30, 2), generator=generator),
        torch.rand(30, generator=generator) < 0.5,
        torch.randint(0, 5, (30, 2), generator=generator),
    )
    result = augment(images, draws, config)
    for index in range(30):
        expected = reference_augment(
            images[index], draws.offsets[index], bool(draws.flips[index]), draws.centers[index], config
        )
        assert torch.equal(result[index], expected)
    assert torch.equal(images, before)


def test_every_offset_and_flip_occurs() -> None:
    """400 draws of 25 offsets and 2 flips: a missing one has probability below 50 * (49/50)^400 < 2 %."""
    size = 5
    image = (
        torch.arange(1, size * size + 1, dtype=torch.uint8).reshape(1, 1, size, size).expand(400, 3, -1, -1)
    )
    config = AugmentConfig(crop_padding=2, flip=True, cutout=0)
    split = Split(image.contiguous(), torch.zeros(400, dtype=torch.int64))
    ((images, _),) = make_batches(split, 400, mean=(0, 0, 0), std=(1, 1, 1), augment=config)
    assert len(torch.unique(images, dim=0)) == 50
