"""Degraded images against Pillow, SciPy and the formulas, and their parameter."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from pipelines.data.degradations import KINDS, LEVELS, degrade, parameter_channel


def images_of(channels: int, size: int = 16, number: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, channels, size, size), generator=generator, dtype=torch.uint8)


def all_at(images: torch.Tensor, kind: str, level: int) -> torch.Tensor:
    return degrade(images, kind, torch.full((len(images),), level))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_happens_at_0_and_each_image_has_its_own_level(kind: str) -> None:
    images = images_of(3)
    assert torch.equal(all_at(images, kind, 0), images)
    mixed = degrade(images, kind, torch.tensor([0, 100, 40]))
    assert (mixed.dtype, mixed.shape) == (torch.uint8, images.shape)
    assert torch.equal(mixed[0], images[0])
    assert torch.equal(mixed[1], all_at(images, kind, 100)[1])
    assert torch.equal(mixed[2], all_at(images, kind, 40)[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_parameter_is_further_from_the_image(kind: str) -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(8, 3, -1, -1)
    noise = torch.randint(-40, 40, ramp.shape, generator=torch.Generator().manual_seed(1))
    images = (ramp + noise).clamp(0, 255).to(torch.uint8)
    errors = [
        float((all_at(images, kind, level).float() - images.float()).square().mean()) for level in LEVELS
    ]
    assert errors == sorted(errors)
    assert errors[0] == 0 < errors[1] < errors[-1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("level", "quality"), [(10, 100), (50, 60), (100, 10)])
def test_jpeg_is_pillows_at_the_quality_of_the_parameter(channels: int, level: int, quality: int) -> None:
    images = images_of(channels)
    for image, found in zip(images, all_at(images, "jpeg", level), strict=True):
        pixels = image.permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(buffer, "JPEG", quality=quality)
        expected = np.asarray(Image.open(buffer)).reshape(pixels.shape)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_blur_is_scipys_at_the_width_of_the_parameter() -> None:
    images = images_of(2)
    expected = ndimage.gaussian_filter(images.double().numpy(), (0, 0, 1.04, 1.04), mode="mirror", truncate=4)
    # Half a step of rounding, and float32 against float64.
    assert np.abs(all_at(images, "blur", 60).double().numpy() - expected).max() <= 0.5 + 1e-3


def test_noise_has_its_deviation_and_is_the_same_for_an_image() -> None:
    images = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(64, dtype=torch.uint8)  # images that differ have other noise
    found = all_at(images, "noise", 40)
    noise = (found.double() - images) / 255
    # n = 49,152: a standard error of 0.3 %; rounding adds less.
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert not torch.equal(found[0, 1], found[1, 1])
    assert torch.equal(found[5:6], all_at(images[5:6], "noise", 40))


def test_the_channel_holds_the_parameter() -> None:
    levels = torch.tensor([0, 50, 100])
    channel = parameter_channel(images_of(3), levels)
    assert (channel.dtype, channel.shape) == (torch.uint8, (3, 1, 16, 16))
    for row, level in zip(channel, levels.tolist(), strict=True):
        # Half a step of rounding.
        assert (row.double() / 255 - level / 100).abs().max() <= 0.5 / 255 + 1e-12
        assert row.unique().numel() == 1
