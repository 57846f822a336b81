"""Rate-distortion curves and the transform that a codec starts from."""

import numpy as np
import pytest
import torch

from pipelines.codec.coding import encode
from pipelines.codec.curves import (
    Point,
    curves_of_jpeg,
    curves_with_stops,
    curves_without_stops,
    highest,
    mean_rows,
    read_off,
)
from pipelines.codec.measures import jpeg, psnr, squared_error
from pipelines.codec.network import NUM_BITS, Codec
from pipelines.codec.stream import DIGEST_BYTES, HEADER, write_stream
from pipelines.codec.transform import blocks_in, embedded_transform
from tests.unit.codec.conftest import ITERATIONS, make_picture

IMAGES = {"one": make_picture(20, 33), "two": make_picture(48, 16, seed=1)}


def point(rate: float, quality: float, num_pixels: int = 100, deviation: float = 1.0) -> Point:
    return Point(
        setting=0.0,
        num_pixels=num_pixels,
        bits_per_pixel_before=2 * rate,
        bits_per_pixel=rate,
        psnr=quality,
        ms_ssim=None,
        block_deviation=deviation,
    )


def test_a_point_is_the_file_that_would_be_written(codec: Codec) -> None:
    curves = curves_with_stops(codec, IMAGES, (10.0, 14.0))
    for image, curve in zip(IMAGES.values(), curves, strict=True):
        assert [one.setting for one in curve] == [0.0, 10.0, 14.0]
        coded, decoded = encode(codec, image, bytes(8), 14.0, ITERATIONS)
        pixels = image.shape[1] * image.shape[2]
        assert curve[2].bits_per_pixel * pixels == pytest.approx(8 * len(write_stream(coded)))
        assert curve[2].psnr == pytest.approx(psnr(squared_error(image, decoded)))
        assert curve[0].bits_per_pixel_before * pixels == pytest.approx(8 * (HEADER.size + DIGEST_BYTES))


def test_without_stops_a_point_is_an_iteration(codec: Codec) -> None:
    curve = curves_without_stops(codec, IMAGES)[0]
    header = 8 * (HEADER.size + DIGEST_BYTES)
    bits = [one.bits_per_pixel_before * 20 * 33 - header for one in curve]
    assert bits == pytest.approx([2 * 3 * NUM_BITS * iteration for iteration in range(ITERATIONS + 1)])


def test_jpegs_point_is_pillows_file() -> None:
    curve = curves_of_jpeg(IMAGES)[1]
    content, decoded = jpeg(IMAGES["two"], 85)
    assert curve[-1].bits_per_pixel == pytest.approx(8 * len(content) / (48 * 16))
    assert curve[-1].psnr == pytest.approx(psnr(squared_error(IMAGES["two"], decoded)))


def test_what_images_need_is_read_off_their_own_curves() -> None:
    curves = [
        [point(0.0, 10.0), point(1.0, 20.0, deviation=3.0)],
        [point(0.0, 14.0, 300), point(0.5, 18.0, 300, deviation=2.0)],
    ]
    row = read_off(curves, 15.0)
    # 0.5 of 100 pixels and 0.125 of 300; the deviation half of the way and a quarter of it.
    assert row["bits_per_pixel"] == pytest.approx((0.5 * 100 + 0.125 * 300) / 400)
    assert row["bits_per_pixel_before"] == pytest.approx(2 * row["bits_per_pixel"])
    assert row["block_deviation"] == pytest.approx((2.0 + 1.25) / 2)
    assert row["ms_ssim"] is None
    assert highest(curves) == 18.0
    assert set(read_off(curves, 19.0).values()) == {None}
    first, last = mean_rows(curves)
    assert (first["psnr"], last["psnr"]) == (12.0, 19.0)
    assert last["bits_per_pixel"] == pytest.approx((1.0 * 100 + 0.5 * 300) / 400)


def test_the_transform_takes_off_what_its_levels_say() -> None:
    """Coding the blocks by the rows, sign by sign, in numpy."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(40, 40, generator=generator, dtype=torch.float64)
    blocks = torch.randn(500, 40, generator=generator, dtype=torch.float64) @ mix
    found = embedded_transform(blocks, 3)
    left = blocks.numpy().copy()
    for iteration in range(3):
        assert float(found.remaining[iteration]) == pytest.approx(np.sqrt(np.square(left).mean()))
        before = np.square(left).sum(1).mean()
        values = left @ found.analysis[iteration].numpy().T
        rows = found.synthesis[iteration].numpy()
        left -= np.where(values >= 0, 1.0, -1.0) @ rows
        levels = np.linalg.norm(rows, axis=1)
        assert before - np.square(left).sum(1).mean() == pytest.approx(np.square(levels).sum())
        # Rows are orthogonal, so that a sign is about its own coefficient.
        assert np.allclose(rows @ rows.T, np.diag(levels**2))
        assert np.abs(values).mean(0) == pytest.approx(np.full(NUM_BITS, 2.0))


def test_blocks_are_cut_without_overlap() -> None:
    images = torch.arange(2 * 3 * 32 * 48).float().view(2, 3, 32, 48)
    blocks = blocks_in(images)
    assert blocks.shape == (2 * 2 * 3, 3 * 256)
    assert torch.equal(blocks[6 + 3 + 1].view(3, 16, 16), images[1, :, 16:, 16:32])
