"""The varied data sets: what the rule changes and what it leaves."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines.data import PrepareConfig
from pipelines.data.raw import SOURCES, check_raw
from pipelines.data.sources import variations
from pipelines.data.sources.digits import load_digits
from pipelines.data.sources.variations import VARIATIONS, draw_shape, on_noise, on_photographs, rotated

MakeConfig = Callable[..., PrepareConfig]


def grey(number: int, side: int = 16, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (number, 1, side, side), dtype=np.uint8)


@pytest.mark.parametrize("variation", VARIATIONS)
def test_a_variation_of_the_digits_is_one_data_set(variation: str, make_config: MakeConfig) -> None:
    raw = SOURCES[f"digits_{variation}"](make_config())
    check_raw(raw, variation)
    assert raw.train_images.shape == (1797, 1, 16, 16)
    assert np.array_equal(raw.train_labels, load_digits(make_config()).train_labels)
    again = SOURCES[f"digits_{variation}"](make_config(seed=9))
    assert np.array_equal(raw.train_images, again.train_images)


def test_both_parts_of_fashion_mnist_are_changed(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"train_images": grey(6, 28), "test_images": grey(6, 28)}  # equal images, unequal draws
    labels = {"train_labels": np.arange(6), "test_labels": np.arange(6)}
    raw = variations.RawData(class_names=tuple("abcdef"), source="idx", **parts, **labels)
    monkeypatch.setattr(variations, "load_fashion_mnist", lambda _: raw)
    found = SOURCES["fashion_mnist_random_background"](make_config())
    assert found.test_images is not None
    assert found.train_images.shape == found.test_images.shape == (6, 1, 28, 28)
    assert not np.array_equal(found.train_images, found.test_images)
    assert found.source == "idx"


def test_an_image_is_turned_by_its_own_angle() -> None:
    """A bright spot keeps its distance from the centre; the angles are spread over the circle."""
    images = np.zeros((400, 1, 33, 33), dtype=np.uint8)
    images[:, 0, 6:9, 15:18] = 255  # centre of mass 9 pixels above the middle
    turned = rotated(images, np.random.default_rng(1))[:, 0].astype(float)
    rows, columns = np.mgrid[:33, :33] - 16
    mass = turned.sum((1, 2))
    y, x = ((turned * places).sum((1, 2)) / mass for places in (rows, columns))
    assert np.hypot(x, y) == pytest.approx(9, abs=0.25)  # bilinear, rounded to whole grey values
    quadrants = np.histogram(np.arctan2(y, x), bins=4, range=(-np.pi, np.pi))[0]
    assert quadrants.min() > 60  # 100 expected, deviation 8.7


def test_the_brightness_of_an_image_is_its_opacity() -> None:
    images = np.zeros((50, 1, 16, 16), dtype=np.uint8)
    images[:, :, :8] = 255
    images[:, :, 12:] = 128
    for change in (on_noise, on_photographs):
        found = change(images, np.random.default_rng(2))
        assert (found[:, :, :8] == 255).all()
        assert (found[:, :, 12:] >= 128).all()
        assert found[:, :, 8:12].std() > 20
    noise = on_noise(np.zeros_like(images), np.random.default_rng(3))
    counts = np.bincount(noise.ravel(), minlength=256)
    assert counts.min() > 0
    assert noise.mean() == pytest.approx(127.5, abs=5 * 74 / noise.size**0.5)  # uniform: deviation 73.9


def test_a_patch_is_a_piece_of_a_photograph_with_contrast() -> None:
    found = on_photographs(np.zeros((30, 1, 12, 12), dtype=np.uint8), np.random.default_rng(4))[:, 0]
    assert (found.std((1, 2)) >= variations.LEAST_DEVIATION).all()
    windows = [
        np.lib.stride_tricks.sliding_window_view(photograph, (12, 12))
        for photograph in variations._photographs()
    ]
    for patch in found[:5]:
        assert any((window == patch).all((2, 3)).any() for window in windows)


@pytest.mark.parametrize("convex", [True, False])
def test_a_shape_is_convex_or_is_not(convex: bool) -> None:
    """By all pairs of pixels: the pixel in the middle of two of a convex shape is in it, too."""
    generator = np.random.default_rng(5)
    for _ in range(10):
        shape = draw_shape(generator, convex=convex)
        pixels = np.argwhere(shape)
        assert variations.LEAST_AREA <= len(pixels) / shape.size <= variations.MOST_AREA
        middles = (
            (one + other) // 2
            for one, other in itertools.combinations(pixels, 2)
            if not ((one + other) % 2).any()
        )
        assert all(shape[tuple(middle)] for middle in middles) == convex


def test_half_of_the_shapes_are_convex(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variations, "NUM_CONVEX", (20, 10))
    raw = SOURCES["convex"](make_config())
    check_raw(raw, "convex")
    assert raw.train_images.shape == (20, 1, 28, 28)
    assert set(np.unique(raw.train_images)) == {0, 255}
    assert raw.test_labels is not None
    assert (raw.train_labels.sum(), raw.test_labels.sum()) == (10, 5)
