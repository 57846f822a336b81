"""Input transforms: each against a slow loop, and through the stage that prepares the data."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.data import load_prepared
from pipelines.data.preparation import prepare
from pipelines.data.transforms import TRANSFORMS, image_channels, transform_images
from pipelines.errors import UserError
from tests.imports import ROOT

IMAGES = torch.randint(0, 256, (3, 2, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def mirrored(index: int, size: int) -> int:
    """The pixel that stands for one outside: the border itself is not repeated."""
    return -index if index < 0 else 2 * (size - 1) - index if index >= size else index


def slow_unsharp_mask(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x + (x - Gaussian blur of 5 x 5 pixels, sigma 1), pixel by pixel, rounded and clamped."""
    height, width = image.shape
    weights = [math.exp(-(offset**2) / 2) for offset in range(-2, 3)]
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            blurred = (
                sum(
                    weights[i]
                    * weights[j]
                    * float(image[mirrored(row + i - 2, height), mirrored(column + j - 2, width)])
                    for i in range(5)
                    for j in range(5)
                )
                / sum(weights) ** 2
            )
            result[row, column] = min(255, max(0, round(2 * float(image[row, column]) - blurred)))
    return result


def test_unsharp_mask_is_what_a_slow_loop_computes() -> None:
    changed = TRANSFORMS["unsharp_mask"](IMAGES).numpy()
    for image, expected in zip(changed.reshape(-1, 8, 8), IMAGES.numpy().reshape(-1, 8, 8), strict=True):
        # float32 sums in another order move a value by some 1e-5: a half may be rounded the other way.
        assert np.abs(image.astype(int) - slow_unsharp_mask(expected).astype(int)).max() <= 1
    assert (changed != IMAGES.numpy()).any()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_image_is_changed_by_itself_alone(name: str) -> None:
    together = transform_images(IMAGES, name)
    assert (together.shape[0], *together.shape[2:]) == (3, 8, 8)
    assert together.shape[1] in (2, 3, 4)
    for index in range(len(IMAGES)):
        assert torch.equal(together[index : index + 1], transform_images(IMAGES[index : index + 1], name))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_colours_of_an_image_are_known_from_the_channels(name: str) -> None:
    for number in (1, 3):
        channels = transform_images(IMAGES[:, :1].expand(-1, number, -1, -1), name).shape[1]
        assert image_channels(channels, name) == number
        assert (channels > number) == name.endswith("stacked")
    with pytest.raises(UserError, match=f"'{name}' turns no image into 5 channels"):
        image_channels(5, name)


def test_every_module_registers_one() -> None:
    modules = {path.stem for path in (ROOT / "pipelines/data/transforms").glob("*.py")}
    registering = {
        transform.__module__.rpartition(".")[2] for transform in map(TRANSFORMS.__getitem__, TRANSFORMS)
    }
    assert modules - {"__init__", "registry", "edges"} == registering


def test_prepared_data_are_transformed_in_all_parts_and_say_so(make_config: Any, tmp_path: Path) -> None:
    plain, sharp = tmp_path / "plain", tmp_path / "sharp"
    for folder, transform in ((plain, None), (sharp, "unsharp_mask")):
        config = make_config(train_limit=60, test_limit=20, transform=transform)
        assert prepare(config, folder, tmp_path / "samples.png")["transform"] == transform
    before, after = load_prepared(plain), load_prepared(sharp)
    assert (before.transform, after.transform) == (None, "unsharp_mask")
    assert before.checksum != after.checksum
    for part in ("train", "validation", "test"):
        expected = transform_images(getattr(before, part).images, "unsharp_mask")
        assert torch.equal(getattr(after, part).images, expected)


def test_an_unknown_transform_is_named(make_config: Any, tmp_path: Path) -> None:
    config = make_config(train_limit=60, transform="sharper")
    with pytest.raises(
        UserError, match=r"prepare\.transform: 'sharper' is no known input transform; known: degraded_jpeg_20"
    ):
        prepare(config, tmp_path / "data", tmp_path / "samples.png")
