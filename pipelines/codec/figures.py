"""Rate-distortion curves as a figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.figures import color_of, figure, plain
from pipelines.results import Row

QUALITIES = (("psnr", "PSNR in dB"), ("ms_ssim", "MS-SSIM"))
RATES = (("bits_per_pixel_before", "before zlib"), ("bits_per_pixel", "after zlib"))
NO_STYLE_BEFORE = "jpeg"
"""Codes by entropy always, so that it has one curve."""


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draw PSNR and MS-SSIM against bits a pixel, the mean of each point over the seeds; writes `path`.

    `rows`: a point of a curve each, with codec, setting, seed, rates and qualities. Nothing is drawn of no rows.
    """
    codecs = list(dict.fromkeys(row["codec"] for row in rows))
    if not codecs:
        return
    with figure(path, 9.0, 3.6) as drawing:
        for axes, (quality, label) in zip(drawing.subplots(1, 2), QUALITIES, strict=True):
            for index, codec in enumerate(codecs):
                for rate, when in RATES:
                    if codec == NO_STYLE_BEFORE and rate != "bits_per_pixel":
                        continue
                    points = mean_points([row for row in rows if row["codec"] == codec], rate, quality)
                    style = "-o" if rate == "bits_per_pixel" else ":"
                    name = codec if codec == NO_STYLE_BEFORE else f"{codec}, {when}"
                    axes.plot(*points, style, color=color_of(index), markersize=3, label=plain(name))
            axes.set(xlabel="bits a pixel", ylabel=label)
            axes.set_xlim(left=0, right=_most_rate(rows))
        axes.set_title("")
        handles, _ = axes.get_legend_handles_labels()
        drawing.legend(handles=handles, loc="outside right upper")


def mean_points(rows: Sequence[Row], rate: str, quality: str) -> tuple[list[float], list[float]]:
    """Return rates and qualities, the means over the seeds of each setting; a setting without a quality is left out."""
    settings = dict.fromkeys(row["setting"] for row in rows)
    known = {
        setting: [row for row in rows if row["setting"] == setting and row[quality] is not None]
        for setting in settings
    }
    means = {
        setting: (float(np.mean([row[rate] for row in mine])), float(np.mean([row[quality] for row in mine])))
        for setting, mine in known.items()
        if mine
    }
    return [mean[0] for mean in means.values()], [mean[1] for mean in means.values()]


def _most_rate(rows: Sequence[Row]) -> float:
    """Return where the rates of our codecs end: JPEG goes on far beyond."""
    rates = [row["bits_per_pixel_before"] for row in rows if row["codec"] != NO_STYLE_BEFORE]
    return 1.1 * float(max(rates))
