"""Shifted test images, against slow references."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from pipelines.data.corruptions import BLUR, CONTRAST, CORRUPTIONS, NOISE, QUALITY, SEVERITIES, corrupt
from pipelines.errors import UserError


def images_of(channels: int, size: int = 16, number: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, channels, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_type_and_shape_stay_and_the_seed_decides(name: str, channels: int) -> None:
    images = images_of(channels)
    before = images.clone()
    for severity in SEVERITIES:
        changed = corrupt(images, name, severity, seed=3)
        assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
        assert torch.equal(images, before)
        assert not torch.equal(changed, images)
        assert torch.equal(changed, corrupt(images, name, severity, seed=3))


def test_noise_has_its_deviation_and_differs_by_seed_and_severity() -> None:
    images = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    for severity, deviation in zip(SEVERITIES, NOISE, strict=True):
        noise = (corrupt(images, "gaussian_noise", severity, seed=1).double() - 128) / 255
        # n = 49,152: a deviation has a standard error of sigma / sqrt(2 n), 0.3 %; rounding adds less.
        assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
        assert abs(float(noise.mean())) < 5 * deviation / 49_152**0.5
    assert not torch.equal(corrupt(images, "gaussian_noise", 1, 1), corrupt(images, "gaussian_noise", 1, 2))


@pytest.mark.parametrize("size", [4, 16])
def test_blur_is_that_of_scipy(size: int) -> None:
    images = images_of(3, size, 2)
    for severity, sigma in zip(SEVERITIES, BLUR, strict=True):
        radius = min(int(4 * sigma + 0.5), size - 1)
        expected = ndimage.gaussian_filter(
            images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=radius / sigma
        )
        changed = corrupt(images, "gaussian_blur", severity, seed=0).double().numpy()
        # Half a step of rounding, and float32 against float64.
        assert np.abs(changed - expected).max() <= 0.5 + 1e-3


def test_contrast_moves_to_the_mean_of_each_channel() -> None:
    images = images_of(3)
    for severity, factor in zip(SEVERITIES, CONTRAST, strict=True):
        changed = corrupt(images, "contrast", severity, seed=0)
        for image, result in zip(images, changed, strict=True):
            for channel, found in zip(image.double(), result.double(), strict=True):
                expected = channel.mean() + factor * (channel - channel.mean())
                assert float((found - expected).abs().max()) <= 0.5 + 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_pillow(channels: int) -> None:
    images = images_of(channels, number=2)
    for severity, quality in zip(SEVERITIES, QUALITY, strict=True):
        for image, result in zip(images, corrupt(images, "jpeg", severity, seed=0), strict=True):
            pixels = image.permute(1, 2, 0).numpy()
            buffer = io.BytesIO()
            Image.fromarray(pixels.squeeze()).save(buffer, "JPEG", quality=quality)
            expected = np.asarray(Image.open(buffer)).reshape(pixels.shape)
            assert np.array_equal(result.permute(1, 2, 0).numpy(), expected)


def test_an_unknown_corruption_is_named() -> None:
    with pytest.raises(UserError, match="'fog' is no known corruption; known: gaussian_noise, "):
        corrupt(images_of(1), "fog", 1, 0)
