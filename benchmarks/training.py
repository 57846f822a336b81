"""Training step of DenseNet-BC against torchvision's `DenseNet` class with the same blocks and stem.

    python -m benchmarks.training [--depth 100] [--image-size 32] [--batch-size 64] [--rounds 7] [--json FILE]

All variants take the same images through forward pass, backward pass and SGD step in the same process with the
same threads. Rounds are interleaved (one step of each variant a round), so that a noisy machine is as noisy for
all; a row's ratio is the median over the rounds of torchvision's time by the variant's.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.config import load_section
from pipelines.models import DenseNetConfig, build_model, count_parameters
from pipelines.models.blocks import block_layers
from pipelines.provenance import provenance
from pipelines.study.steps import Step, timed_rounds
from pipelines.torchvision_compat import torchvision

NUM_CLASSES = 10
NUM_CHANNELS = 3


def config(
    discard_rate: float, *, granularity: str = "layer", memory_efficient: bool = True
) -> DenseNetConfig:
    committed = load_section(DenseNetConfig, "densenet", Path(__file__).parents[1] / "conf/config.yaml")
    return replace(
        committed,
        discard_rate=discard_rate,
        discard_granularity=granularity,
        memory_efficient=memory_efficient,
    )


VARIANTS = {
    "ours": config(0.0),
    "ours, discard rate 0.25 by layer": config(0.25),
    "ours, discard rate 0.25 by channel group": config(0.25, granularity="channel_group"),
    "ours, plain concatenation": config(0.0, memory_efficient=False),
}


def torchvision_densenet(depth: int) -> nn.Module:
    """Return torchvision's DenseNet-BC at growth rate 12 with the stem of the paper's small-image networks."""
    layers = block_layers(depth, VARIANTS["ours"])
    model: nn.Module = torchvision.models.DenseNet(
        growth_rate=12, block_config=layers, num_init_features=24, num_classes=NUM_CLASSES
    )
    features = model.features
    features.conv0 = nn.Conv2d(NUM_CHANNELS, 24, 3, padding=1, bias=False)  # type: ignore[union-attr]
    for name in ("norm0", "relu0", "pool0"):
        setattr(features, name, nn.Identity())
    return model


def our_densenet(depth: int, image_size: int, variant: DenseNetConfig) -> nn.Module:
    return build_model(
        f"densenet{depth}",
        num_channels=NUM_CHANNELS,
        num_classes=NUM_CLASSES,
        image_size=image_size,
        densenet=variant,
        seed=0,
    )


def step_of(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """Return a function that makes one training step of `model` and waits for it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()

    return step


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Return a row per variant, torchvision's first."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = arguments.image_size
    images = torch.randn(arguments.batch_size, NUM_CHANNELS, size, size, device=device)
    labels = torch.randint(0, NUM_CLASSES, (arguments.batch_size,), device=device)
    models = {"torchvision": torchvision_densenet(arguments.depth).to(device)}
    for name, variant in VARIANTS.items():
        models[name] = our_densenet(arguments.depth, size, variant).to(device)
    steps = {name: step_of(model, images, labels) for name, model in models.items()}
    seconds = timed_rounds(steps, arguments.rounds)
    reference = seconds["torchvision"]
    return [
        {
            "variant": name,
            "images_per_second_over_torchvision": statistics.median(
                theirs / ours for theirs, ours in zip(reference, seconds[name], strict=True)
            ),
            "step_seconds_median": statistics.median(seconds[name]),
            "step_seconds_min": min(seconds[name]),
            "step_seconds_max": max(seconds[name]),
            "rounds": arguments.rounds,
            "num_parameters": count_parameters(model),
            "depth": arguments.depth,
            "image_size": size,
            "batch_size": arguments.batch_size,
            **provenance(device),
        }
        for name, model in models.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--depth", type=int, default=100, help="nominal depth (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    arguments = parser.parse_args()
    rows = measure(arguments)
    for row in rows:
        print(
            f"{row['variant']:42s} {row['images_per_second_over_torchvision']:5.2f} x torchvision, "
            f"{row['step_seconds_median']:.3f} s a step, {row['num_parameters']} parameters"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
