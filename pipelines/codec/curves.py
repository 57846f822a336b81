"""Rate-distortion curves of images: a codec with and without stop codes, and JPEG."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.codec.coding import Pixels, encode, stages
from pipelines.codec.measures import block_deviation, jpeg, ms_ssim, psnr, rate_at, squared_error
from pipelines.codec.network import Codec
from pipelines.codec.stream import DIGEST_BYTES, HEADER, CodedImage, write_stream
from pipelines.results import Row

JPEG_QUALITIES = (2, 4, 6, 8, 10, 13, 17, 22, 30, 40, 55, 70, 85)
NO_WEIGHTS = bytes(DIGEST_BYTES)
"""In place of the weights' digest, which has the same length whatever it is."""

Images = Mapping[str, Pixels]


@dataclass(frozen=True, kw_only=True)
class Point:
    """An image coded with one setting."""

    setting: float
    num_pixels: int
    bits_per_pixel_before: float
    """Before zlib, with header and checksum."""
    bits_per_pixel: float
    """Of the file."""
    psnr: float
    ms_ssim: float | None
    """None for an image that is too small."""
    block_deviation: float


Curve = list[Point]
"""Of one image, in the order of the settings."""


def curves_without_stops(codec: Codec, images: Images) -> list[Curve]:
    """Return a curve an image, a point an iteration, 0 included: every block has the same number of them."""
    return [
        [
            _point(len(stage.codes), image, stage.decoded, stage.coded(NO_WEIGHTS))
            for stage in stages(codec, image, None, codec.iterations)
        ]
        for image in images.values()
    ]


def curves_with_stops(codec: Codec, images: Images, qualities: Sequence[float]) -> list[Curve]:
    """Return a curve an image: nothing coded, as setting 0, then a point a quality in dB at which blocks stop."""

    def point(image: Pixels, quality: float) -> Point:
        iterations = codec.iterations if quality else 0
        coded, decoded = encode(codec, image, NO_WEIGHTS, quality, iterations)
        return _point(quality, image, decoded, coded)

    return _over(images, (0.0, *qualities), point)


def curves_of_jpeg(images: Images) -> list[Curve]:
    """Return a curve an image by Pillow's encoder; JPEG always codes by entropy, so before is as after."""

    def point(image: Pixels, quality: float) -> Point:
        content, decoded = jpeg(image, int(quality))
        return _measured(quality, image, decoded, 8 * len(content), 8 * len(content))

    return _over(images, JPEG_QUALITIES, point)


def mean_rows(curves: Sequence[Curve]) -> list[Row]:
    """Return a row a setting: all bits by all pixels, and the means of the qualities over the images."""
    return [_mean_row(points) for points in zip(*curves, strict=True)]


def read_off(curves: Sequence[Curve], wanted: float) -> Row:
    """Return what the images need for at least `wanted` dB each: their bits by all pixels, means of the rest.

    By straight lines between the points of an image's curve; None where one image does not have the PSNR.
    """
    shares = np.array([curve[0].num_pixels for curve in curves], dtype=np.float64)
    row: Row = {}
    for key in ("bits_per_pixel_before", "bits_per_pixel", "ms_ssim", "block_deviation"):
        found = [_value_at(curve, key, wanted) for curve in curves]
        weights = shares if key.startswith("bits") else None
        complete = None not in found
        row[key] = float(np.average(np.array(found, dtype=np.float64), weights=weights)) if complete else None
    return row


def highest(curves: Sequence[Curve]) -> float:
    """Return the PSNR in dB that every image can have."""
    return min(max(point.psnr for point in curve) for curve in curves)


def _value_at(curve: Curve, key: str, wanted: float) -> float | None:
    """Return the number `key` where the curve of an image first has the PSNR."""
    rates = [point.bits_per_pixel_before for point in curve]
    reached = [point.psnr for point in curve]
    rate = rate_at(rates, reached, wanted)
    values = [getattr(point, key) for point in curve]
    if rate is None or None in values:
        return None
    order = np.argsort(rates, kind="stable")
    return float(np.interp(rate, np.array(rates)[order], np.array(values, dtype=np.float64)[order]))


def _over(images: Images, settings: Sequence[float], point: Callable[[Pixels, float], Point]) -> list[Curve]:
    return [[point(image, setting) for setting in settings] for image in images.values()]


def _mean_row(points: Sequence[Point]) -> Row:
    shares = [point.num_pixels for point in points]
    similarities = [point.ms_ssim for point in points]
    return {
        "setting": points[0].setting,
        **{
            key: float(np.average([getattr(point, key) for point in points], weights=shares))
            for key in ("bits_per_pixel_before", "bits_per_pixel")
        },
        "psnr": float(np.mean([point.psnr for point in points])),
        "ms_ssim": None if None in similarities else float(np.mean([one or 0.0 for one in similarities])),
        "block_deviation": float(np.mean([point.block_deviation for point in points])),
    }


def _point(setting: float, image: Pixels, decoded: Pixels, coded: CodedImage) -> Point:
    before = 8 * (HEADER.size + DIGEST_BYTES) + coded.num_body_bits
    return _measured(setting, image, decoded, before, 8 * len(write_stream(coded)))


def _measured(setting: float, image: Pixels, decoded: Pixels, before: int, after: int) -> Point:
    num_pixels = image.shape[1] * image.shape[2]
    return Point(
        setting=setting,
        num_pixels=num_pixels,
        bits_per_pixel_before=before / num_pixels,
        bits_per_pixel=after / num_pixels,
        psnr=psnr(squared_error(image, decoded)),
        ms_ssim=ms_ssim(image, decoded),
        block_deviation=block_deviation(image, decoded),
    )
