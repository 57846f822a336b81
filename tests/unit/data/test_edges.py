"""Wavelet and Sobel transforms against algebraic identities and slow loops that know nothing of PyWavelets."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.data import load_prepared
from pipelines.data.preparation import prepare
from pipelines.data.transforms import TRANSFORMS, transform_images
from pipelines.data.transforms.sobel import sobel_magnitude
from pipelines.data.transforms.wavelet_maxima import modulus_maxima
from pipelines.data.transforms.wavelet_reconstruction import WAVELETS, limited_reconstruction

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (2, 3, 16, 16), generator=GENERATOR, dtype=torch.uint8)
# float32 sums of some dozens of values up to 255 in another order: 255 x 30 x 2^-24 = 5e-4.
TOLERANCE = 2e-3
# Daubechies 1992, table 6.1, N = 2: (1 +- sqrt 3) / (4 sqrt 2) and (3 +- sqrt 3) / (4 sqrt 2).
DB2 = [(1 + math.sqrt(3)), (3 + math.sqrt(3)), (3 - math.sqrt(3)), (1 - math.sqrt(3))]
LOW_PASS = {
    "haar": ([1 / math.sqrt(2)] * 2, [1 / math.sqrt(2)] * 2),
    "db2": ([value / (4 * math.sqrt(2)) for value in DB2],) * 2,
    # Cohen, Daubechies and Feauveau 1992, the 5/3 pair: analysis and synthesis.
    "bior2.2": (
        [value * math.sqrt(2) / 8 for value in (-1, 2, 6, 2, -1)],
        [value * math.sqrt(2) / 4 for value in (1, 2, 1)],
    ),
}


def blocks(images: torch.Tensor, side: int) -> torch.Tensor:
    """Each pixel replaced by the mean of its block of side x side pixels."""
    means = images.float().unfold(2, side, side).unfold(3, side, side).mean((4, 5))
    return means.repeat_interleave(side, 2).repeat_interleave(side, 3)


@pytest.mark.parametrize("levels", [1, 2])
def test_haar_details_are_what_block_means_leave(levels: int) -> None:
    means = blocks(IMAGES, 2**levels)
    details = limited_reconstruction(IMAGES, "haar", levels, 0.0)
    torch.testing.assert_close(details, IMAGES.float() - means, rtol=0, atol=TOLERANCE)
    half = limited_reconstruction(IMAGES, "haar", levels, 0.5)
    torch.testing.assert_close(half, IMAGES.float() - 0.5 * means, rtol=0, atol=TOLERANCE)


def smoothing_matrix(wavelet: str, size: int) -> np.ndarray[Any, Any]:
    """The lines that one level keeps in its approximation, far from the border: synthesis x analysis, by hand."""
    analysis, synthesis = LOW_PASS[wavelet]
    matrix = np.zeros((size, size))
    # Both filters of an approximation lie around the same pixel.
    for start in range(-8, size + 8, 2):
        row, column = np.zeros(size), np.zeros(size)
        for filter_, target in ((analysis, row), (synthesis, column)):
            offset = start - (len(filter_) - 1) // 2
            for index, weight in enumerate(filter_):
                if 0 <= offset + index < size:
                    target[offset + index] += weight
        matrix += np.outer(column, row)
    return matrix


@pytest.mark.parametrize("wavelet", WAVELETS.values())
def test_one_level_is_a_product_with_the_published_filters(wavelet: str) -> None:
    image = IMAGES[0, 0].double().numpy()
    approximation = IMAGES[0, 0].float() - limited_reconstruction(IMAGES[:1, :1], wavelet, 1, 0.0)[0, 0]
    candidates = []
    # Where the grid of pairs begins is a convention: one of the two, and either order of the filter.
    for shift in (0, 1):
        for order in (1, -1):
            smooth = smoothing_matrix(wavelet, 17)[shift : shift + 16, shift : shift + 16][::order, ::order]
            candidates.append(np.abs((smooth @ image @ smooth.T - approximation.numpy())[4:12, 4:12]).max())
    assert min(candidates) < TOLERANCE
    assert max(candidates) > 1


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("wavelet", WAVELETS.values())
@pytest.mark.parametrize("size", [4, 7, 8, 28])
def test_nothing_is_lost_without_damping(wavelet: str, levels: int, size: int) -> None:
    images = torch.randint(0, 256, (2, 1, size, size), generator=GENERATOR, dtype=torch.uint8)
    whole = limited_reconstruction(images, wavelet, levels, 1.0)
    torch.testing.assert_close(whole, images.float(), rtol=0, atol=TOLERANCE)
    flat = torch.full((1, 1, size, size), 90, dtype=torch.uint8)
    assert limited_reconstruction(flat, wavelet, levels, 0.0).abs().max() < TOLERANCE


def slow_maxima(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Haar details of every 2 x 2 window, pixel by pixel, and the maxima along the gradient."""
    height, width = image.shape

    def pixel(row: int, column: int) -> float:
        return float(image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])

    def details(row: int, column: int) -> tuple[float, float]:
        a, b = pixel(row, column), pixel(row, column + 1)
        c, d = pixel(row + 1, column), pixel(row + 1, column + 1)
        return (a + b - c - d) / 2, (a - b + c - d) / 2

    def modulus(row: int, column: int) -> float:
        return math.hypot(*details(row, column))

    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            down, right = details(row, column)
            angle = round(math.atan2(down, right) / (math.pi / 4)) % 4
            step = [(0, 1), (1, 1), (1, 0), (1, -1)][angle]
            here = modulus(row, column)
            behind = modulus(row - step[0], column - step[1])
            if here > behind and here >= modulus(row + step[0], column + step[1]):
                result[row, column] = here
    return result


@pytest.mark.parametrize("size", [7, 16])
def test_modulus_maxima_are_what_a_slow_loop_finds(size: int) -> None:
    images = torch.randint(0, 256, (2, 1, size, size), generator=GENERATOR, dtype=torch.uint8)
    found = modulus_maxima(images)[:, 0].numpy()
    expected = np.stack([slow_maxima(image) for image in images[:, 0].numpy()])
    # Two moduli that are equal but for rounding may fall to either side.
    differing = np.abs(found - expected) > TOLERANCE
    assert differing.mean() < 0.02
    assert 0.1 < (found > 0).mean() < 0.7


def test_a_step_has_a_thin_edge() -> None:
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    image[..., 4:] = 200
    assert modulus_maxima(image)[0, 0].nonzero()[:, 1].unique().tolist() == [3]


def test_sobel_is_what_a_slow_loop_computes() -> None:
    image = IMAGES[0, 0].double().numpy()
    padded = np.pad(image, 1, mode="edge")
    expected = np.empty_like(image)
    for row in range(16):
        for column in range(16):
            window = padded[row : row + 3, column : column + 3]
            across = sum(w * (window[i, 2] - window[i, 0]) for i, w in enumerate((1, 2, 1)))
            down = sum(w * (window[2, i] - window[0, i]) for i, w in enumerate((1, 2, 1)))
            expected[row, column] = math.hypot(across, down) / 4
    np.testing.assert_allclose(sobel_magnitude(IMAGES)[0, 0].numpy(), expected, atol=TOLERANCE)
    added = TRANSFORMS["sobel_added"](IMAGES)[0, 0].numpy()
    assert np.abs(added - np.clip(np.round(image + expected), 0, 255)).max() <= 1


def test_stacked_channels_reach_the_prepared_data(make_config: Any, tmp_path: Path) -> None:
    config = make_config(train_limit=60, test_limit=20, transform="wavelet_haar_1_stacked")
    summary = prepare(config, tmp_path, tmp_path / "samples.png")
    data = load_prepared(tmp_path)
    assert summary["num_channels"] == data.num_channels == len(data.mean) == 2
    # The appended channel is mid-grey where there is no edge.
    assert abs(255 * data.mean[1] - 128) < 10
    assert torch.equal(transform_images(data.test.images[:, :1], data.transform), data.test.images)
