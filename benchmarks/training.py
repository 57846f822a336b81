"""Training step of DenseNet-BC against torchvision's `DenseNet` class with the same blocks and stem.

    python -m benchmarks.training [--depth 100] [--image-size 32] [--batch-size 64] [--rounds 7] [--execution]
        [--json FILE]

All variants take the same images through forward pass, backward pass and SGD step in the same process with the
same threads, eagerly and in float32. With --execution ours also run under torch.compile, in bfloat16 and with
channels_last; compiling takes minutes, before the first timed round. Rounds are interleaved (one step of each
variant a round), so that a noisy machine is as noisy for all; a row's ratio is the median over the rounds of
torchvision's time by the variant's.
"""

import argparse
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.errors import UserError
from pipelines.experiments.study.runs.steps import make_step, timed_rounds
from pipelines.models import DenseNetConfig, build_model, count_parameters
from pipelines.models.blocks import block_layers
from pipelines.provenance import provenance
from pipelines.results import Row, write_json
from pipelines.torchvision_compat import torchvision
from pipelines.training import RecipeConfig, resolve_runtime

ROOT = Path(__file__).parents[1]
NUM_CLASSES = 10
NUM_CHANNELS = 3
REFERENCE = "torchvision"
# Labels are random: at a higher rate the loss could leave the range of float32.
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Variant:
    """What a variant changes: fields of the section densenet in conf/config.yaml and of `plain_recipe`."""

    densenet: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


VARIANTS = {
    "ours": Variant(),
    "ours, discard rate 0.25 by layer": Variant({"discard_rate": 0.25, "discard_granularity": "layer"}),
    "ours, discard rate 0.25 by channel group": Variant(
        {"discard_rate": 0.25, "discard_granularity": "channel_group"}
    ),
    "ours, plain concatenation": Variant({"memory_efficient": False}),
}
EXECUTION_VARIANTS = {
    "ours, compiled": Variant({"memory_efficient": False}, {"execution": "compiled"}),
    "ours, bfloat16": Variant(recipe={"precision": "bfloat16"}),
    "ours, channels_last": Variant(recipe={"memory_format": "channels_last"}),
}


def plain_densenet() -> DenseNetConfig:
    """Return the section densenet that all presets share, with full reuse in our own implementation."""
    shared = load_section(DenseNetConfig, "densenet", ROOT / "conf/config.yaml")
    return replace(shared, discard_rate=0.0, memory_efficient=True)


def plain_recipe(batch_size: int) -> RecipeConfig:
    """Return the recipe in params.yaml for eager steps of `batch_size` images in float32, on a GPU if there is one."""
    recipe = load_section(RecipeConfig, "recipe", ROOT / "params.yaml")
    recipe = replace(recipe, batch_size=batch_size, learning_rate=LEARNING_RATE, device="auto")
    return replace(recipe, precision="float32", memory_format="contiguous", execution="eager")


def our_densenet(depth: int, image_size: int, densenet: DenseNetConfig) -> nn.Module:
    """Return our DenseNet of nominal depth `depth` on the CPU; UserError where no block rule fits."""
    return build_model(
        f"densenet{depth}",
        num_channels=NUM_CHANNELS,
        num_classes=NUM_CLASSES,
        image_size=image_size,
        densenet=densenet,
        seed=0,
    )


def torchvision_densenet(depth: int, densenet: DenseNetConfig) -> nn.Module:
    """Return torchvision's DenseNet-BC of the same blocks and widths, with the paper's stem for small images."""
    model: nn.Module = torchvision.models.DenseNet(
        growth_rate=densenet.growth_rate,
        block_config=block_layers(depth, densenet),
        num_init_features=densenet.stem_width,
        bn_size=densenet.bottleneck_width,
        num_classes=NUM_CLASSES,
    )
    features = model.features
    stem = nn.Conv2d(NUM_CHANNELS, densenet.stem_width, 3, padding=1, bias=False)
    features.conv0 = stem  # type: ignore[union-attr]
    for name in ("norm0", "relu0", "pool0"):
        setattr(features, name, nn.Identity())
    return model


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Return a row per variant, torchvision's first."""
    size, num_images = arguments.image_size, arguments.batch_size
    images = torch.randn(num_images, NUM_CHANNELS, size, size)
    labels = torch.randint(0, NUM_CLASSES, (num_images,))
    densenet, recipe = plain_densenet(), plain_recipe(num_images)
    models = {REFERENCE: torchvision_densenet(arguments.depth, densenet)}
    steps = {REFERENCE: make_step(models[REFERENCE], recipe, images, labels)}
    for name, variant in (VARIANTS | (EXECUTION_VARIANTS if arguments.execution else {})).items():
        models[name] = our_densenet(arguments.depth, size, replace(densenet, **variant.densenet))
        steps[name] = make_step(models[name], replace(recipe, **variant.recipe), images, labels)
    seconds = timed_rounds(steps, arguments.rounds)
    device = resolve_runtime(recipe, models[REFERENCE]).device
    return [
        {
            "variant": name,
            "images_per_second_over_torchvision": statistics.median(
                theirs / ours for theirs, ours in zip(seconds[REFERENCE], seconds[name], strict=True)
            ),
            "step_seconds_median": statistics.median(seconds[name]),
            "step_seconds_min": min(seconds[name]),
            "step_seconds_max": max(seconds[name]),
            "rounds": arguments.rounds,
            "num_parameters": count_parameters(model),
            "depth": arguments.depth,
            "image_size": size,
            "batch_size": num_images,
            **provenance(device),
        }
        for name, model in models.items()
    ]


def check(arguments: argparse.Namespace) -> None:
    """Raise UserError on an argument that the measurement would fail with, before it takes its minutes."""
    try:
        layers = block_layers(arguments.depth, plain_densenet())
    except UserError as error:
        raise UserError(f"--depth: {arguments.depth} is not allowed ({error})") from None
    # A block of one pixel leaves batch normalisation without a variance over a single image.
    smallest = {"image_size": 2 ** len(layers), "batch_size": 1, "rounds": 1}
    for key, bound in smallest.items():
        value = getattr(arguments, key)
        if value < bound:
            raise UserError(
                f"--{key.replace('_', '-')}: {value} is not allowed; allowed: a whole number of at least {bound}"
            )
    file: Path | None = arguments.json
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK)):
        raise UserError(f"--json: {file} cannot be written; allowed: a file in a folder that exists")


def main() -> None:
    """Parse and check the command line, measure, print a line a variant; write the rows where asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--depth", type=int, default=100, help="nominal depth (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each (default: %(default)s)")
    parser.add_argument(
        "--execution", action="store_true", help="also compiled, in bfloat16 and channels_last (minutes)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    arguments = parser.parse_args()
    check(arguments)
    rows = measure(arguments)
    for row in rows:
        print(
            f"{row['variant']:42s} {row['images_per_second_over_torchvision']:5.2f} x torchvision, "
            f"{row['step_seconds_median']:.3f} s a step, {row['num_parameters']} parameters"
        )
    if arguments.json is not None:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    run_stage(main)
