"""SCT: a recurrent image codec whose blocks stop when they are good enough, trained for it in three passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

from torch import nn

from pipelines.codec.curves import (
    Curve,
    curves_of_jpeg,
    curves_with_stops,
    curves_without_stops,
    highest,
    mean_rows,
    read_off,
)
from pipelines.codec.figures import draw_curves
from pipelines.codec.files import save_codec
from pipelines.codec.masks import Masking
from pipelines.codec.network import MOST_ITERATIONS, Codec, CodecShape
from pipelines.codec.training import as_codec, judge, objective
from pipelines.codec.transform import start_from
from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_WIDTH
from pipelines.data import PreparedData
from pipelines.data.images import read_image
from pipelines.data.raw import Images
from pipelines.data.sources.folder import SUFFIXES
from pipelines.data.sources.photographs import held_out
from pipelines.errors import UserError
from pipelines.experiments.related.config import CODEC_SETS
from pipelines.experiments.related.system import SYSTEMS, Comparison, Context, Role, System, Variant
from pipelines.results import Row
from pipelines.tables import Column, decimal
from pipelines.training import Judge, Objective
from pipelines.training.config import MOST_RATE

LEAST_QUALITY, MOST_QUALITY = 5.0, 60.0
"""In dB: next to nothing, and next to no error."""


@dataclass(frozen=True, kw_only=True)
class SctOptions:
    """Parameters of SCT; `related.codecs.sct`."""

    width: int
    """Feature maps of the codec at a quarter of the resolution; see `CodecShape`. Even."""
    iterations: int
    """At most, of a block (the paper: 16); each is 32 bits of 16 x 16 pixels, an eighth of a bit a pixel."""
    rates: tuple[float, ...]
    """Initial learning rates that are tried in the first pass."""
    pass_rates: tuple[float, ...]
    """The same in the passes after it, whose network is trained already."""
    random_share: float
    """Of the blocks that stop at a random iteration in the pass with random masks."""
    added_weight: float
    """Added to the weight 1 of pixels: around the random masks, then in blocks still coded."""
    trained_qualities: tuple[float, float]
    """PSNR in dB that blocks stop at in the last pass, drawn between these for each image."""
    qualities: tuple[float, ...]
    """PSNR in dB that blocks stop at, a point of the curve each; ascending."""
    compared_psnr: dict[str, float]
    """PSNR in dB at which bits a pixel are compared, by the data set that the codecs learn from: one that all reach."""
    folder: str | None
    """Folder of images, such as Kodak's, that the curves are measured on; null: what is held out of the photographs."""

    def __post_init__(self) -> None:
        whole(self, "width", least=2, most=MOST_WIDTH)
        require(self.width % 2 == 0, "width", self.width, "an even number")
        whole(self, "iterations", least=2, most=MOST_ITERATIONS)
        number(self, "rates", "pass_rates", above=0.0, most=MOST_RATE)
        different(self, "rates", "pass_rates", least=1)
        number(self, "random_share", above=0.0, below=1.0)
        number(self, "added_weight", least=0.0, most=1000.0)
        for key in ("trained_qualities", "qualities"):
            number(self, key, least=LEAST_QUALITY, most=MOST_QUALITY)
        every = set(self.compared_psnr) == set(CODEC_SETS)
        require(every, "compared_psnr", self.compared_psnr, f"a number for each of {', '.join(CODEC_SETS)}")
        for name, value in self.compared_psnr.items():
            allowed = f"a number from {LEAST_QUALITY:g} to {MOST_QUALITY:g}"
            require(LEAST_QUALITY <= value <= MOST_QUALITY, f"compared_psnr.{name}", value, allowed)
        different(self, "qualities", least=2)
        for key in ("trained_qualities", "qualities"):
            values = list(getattr(self, key))
            require(values == sorted(values), key, values, "ascending numbers")


@SYSTEMS.register("sct")
class Sct(System):
    """The codec after each pass, and the one that is trained as long without stop codes."""

    Options = SctOptions
    options: SctOptions
    source: ClassVar[str] = (
        "Covell, Johnston, Minnen, Hwang, Shor, Singh, Vincent and Toderici, Target-Quality Image Compression with "
        "Recurrent, Convolutional Neural Networks, 2017, arXiv:1705.06687"
    )
    claim: ClassVar[str] = (
        "A recurrent codec that is trained to tolerate stop codes needs fewer bits at the same quality, before and "
        "after entropy coding, than one without them, and no more than JPEG."
    )
    from_abstract: ClassVar[bool] = True
    data_sets: ClassVar[Sequence[str]] = CODEC_SETS
    score: ClassVar[str] = "bits_per_pixel"
    picture: ClassVar[str] = "quality against bits a pixel"
    columns: ClassVar[Sequence[Column]] = (
        Column("bits_per_pixel_before", "bits a pixel before zlib", decimal, min),
        Column("bits_per_pixel", "bits a pixel", decimal, min),
        Column("ms_ssim", "MS-SSIM", decimal, max),
        Column("block_deviation", "deviation of blocks in dB", decimal, min),
        Column("bits_per_pixel_stopped", "bits a pixel, stopped without training for it", decimal, min),
        Column("jpeg_bits_per_pixel", "bits a pixel, JPEG", decimal),
        Column("highest_psnr", "highest PSNR of the hardest image in dB", decimal, max),
        Column("test_loss", "test loss", decimal, min),
        Column("workers_test_loss", "test loss, two workers under GQ", decimal, min),
    )

    def variants(self) -> Sequence[Variant]:
        """Return the passes one after the other, and the first one gone on with."""
        options, low_high = self.options, self.options.trained_qualities
        random = Masking(random_share=options.random_share, added_weight=options.added_weight)
        quality = Masking(qualities=(low_high[0], low_high[1]), added_weight=options.added_weight)
        table = [
            ("first_pass", Role.ABLATION, "no masks, a third of the training", None, Masking(), 1.0),
            ("no_stops", Role.BASELINE, "no masks, no stop codes", "first_pass", Masking(), 2.0),
            ("random_masks", Role.ABLATION, "then random masks", "first_pass", random, 1.0),
            ("sct", Role.SYSTEM, "then masks by reached quality", "random_masks", quality, 1.0),
        ]
        return [
            Variant(
                name=name,
                role=role,
                what=what,
                model=f"codec{options.width}",
                make=partial(self.make, masking=masking),
                after=after,
                objective=objective_of,
                epochs=epochs,
                rates=options.rates if after is None else options.pass_rates,
            )
            for name, role, what, after, masking, epochs in table
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that stop codes save bits, before and after zlib, and that JPEG needs no fewer."""
        return [
            Comparison(first="no_stops", second="sct", key="bits_per_pixel_before"),
            Comparison(first="no_stops", second="sct", key="bits_per_pixel"),
            Comparison(first="sct", second=None, key="bits_per_pixel_below_jpeg"),
            Comparison(first="no_stops", second="sct", key="block_deviation", counted=False),
            Comparison(first="sct", second="no_stops", key="ms_ssim", counted=False),
        ]

    def make(self, context: Context, *, masking: Masking) -> nn.Module:
        """Return the source, or a codec whose linear path is the transform coder that the training images call for."""
        data, options = context.data, self.options
        if context.source is not None:
            codec = as_codec(context.source)
        else:
            shape = CodecShape(
                num_channels=data.num_channels, width=options.width, iterations=options.iterations
            )
            codec = Codec(shape, data.mean, data.std, masking)
            start_from(codec, data)
        codec.masking = masking
        return codec

    def judge(self, data: PreparedData) -> Judge | None:  # noqa: ARG002 - the same for all
        """Return that a codec is judged by its loss."""
        return judge

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Measure the curve on the held-out images, and what it has at the compared PSNR."""
        codec, options = as_codec(network), self.options
        psnr = options.compared_psnr[context.data_set]
        images, reference = measured_images(options.folder)
        plain = codec.masking == Masking()
        stopped = curves_with_stops(codec, images, options.qualities)
        curves = curves_without_stops(codec, images) if plain else stopped
        row = read_off(curves, psnr)
        wanted = row["bits_per_pixel"], read_off(reference, psnr)["bits_per_pixel"]
        row["jpeg_bits_per_pixel"] = wanted[1]
        row["bits_per_pixel_below_jpeg"] = None if None in wanted else wanted[1] - wanted[0]
        at_once = read_off(stopped, psnr)["bits_per_pixel"]
        row["bits_per_pixel_stopped"] = at_once if plain else None
        row["highest_psnr"] = highest(curves)
        shown = {variant.name: curves}
        if variant.role is Role.BASELINE:
            shown |= {f"{variant.name}, stopped": stopped, "jpeg": reference}
        row["curve"] = [{"codec": name, **point} for name, one in shown.items() for point in mean_rows(one)]
        return row

    def keep(self, variant: Variant, network: nn.Module, path: Path) -> None:
        """Write the codec with stop codes, which `python -m stages.related compress` takes.

        Without `--quality` its blocks stop at the highest PSNR that it was trained for.
        """
        if variant.role is Role.SYSTEM:
            save_codec(as_codec(network), self.options.trained_qualities[1], path)

    def draw(self, rows: Sequence[Row], path: Path) -> None:
        """Draw PSNR and MS-SSIM against bits a pixel, before and after zlib."""
        draw_curves([row for row in rows if row["experiment"] == "curve"], path)


def objective_of(_: Context) -> Objective:
    """Return the loss of a codec."""
    return objective


@cache
def measured_images(folder: str | None) -> tuple[dict[str, Images], list[Curve]]:
    """Return the images that curves are measured on, and JPEG's curves; UserError where the folder has none."""
    if folder is None:
        images = held_out()
    else:
        paths = Path(folder).expanduser().glob("*")
        files = sorted(file for file in paths if file.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError(
                f"related.codecs.sct.folder: {folder!r} is not allowed; allowed: a folder with images, or null"
            )
        images = {file.name: read_image(file, grey=False, size=None) for file in files}
    return images, curves_of_jpeg(images)
