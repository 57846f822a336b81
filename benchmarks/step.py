"""One training step on two ranks over loopback, with and without GQ.

Run: python -m benchmarks.step [--json FILE]     (starts horovodrun itself)

One thread a rank, by default batch 32 of 32 x 32 images. All variants take their steps in turn, so that drift hits them
alike; a step's time is the slower rank's; ratios are of medians. `gq_single` is GQ in the stock optimizer without
`groups=`, `gq_stock` with it. `codec_over_step` is the time of encoding and
decoding over the step's time: all of it counts as overhead, although encoding overlaps with communication.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from horovod_gq import GQ, DistributedOptimizer
from pipelines.config import load_section
from pipelines.models.base import build_model
from pipelines.models.config import DenseNetConfig

MODELS = ("densenet100", "vgg16_bn")
WARMUP = 2
"""Rounds outside the clock: the fp32 step of GQ, and one more."""

PRESETS = Path(__file__).parents[1] / "conf/config.yaml"

Step = Callable[[], None]


def make_model(name: str, image_size: int) -> nn.Module:
    """Build one of the suite's models for colour images, in training mode."""
    densenet = load_section(DenseNetConfig, "densenet", PRESETS)
    return build_model(
        name, num_channels=3, num_classes=10, image_size=image_size, densenet=densenet, seed=0
    ).train()


def make_step(model: nn.Module, optimizer: Any, shape: tuple[int, int]) -> Step:
    batch_size, image_size = shape
    images = torch.randn(batch_size, 3, image_size, image_size)
    labels = torch.randint(0, 10, (batch_size,))

    def step() -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)


def make_variants(
    name: str, wire_bits: int, shape: tuple[int, int]
) -> tuple[dict[str, Step], dict[str, Any]]:
    """Return the steps by variant, and the objects whose `timings` are to be read."""
    import horovod.torch as hvd

    steps: dict[str, Step] = {}
    timed: dict[str, Any] = {}
    model = make_model(name, shape[1])
    steps["local"] = make_step(model, sgd(model), shape)
    model = make_model(name, shape[1])
    named = list(model.named_parameters())
    steps["sdp"] = make_step(model, hvd.DistributedOptimizer(sgd(model), named_parameters=named), shape)
    for variant in ("gq_single", "gq_stock"):
        model = make_model(name, shape[1])
        compression = GQ(wire_bits=wire_bits).bind(model)
        stock = hvd.DistributedOptimizer(
            sgd(model),
            named_parameters=model.named_parameters(),
            compression=compression,
            op=hvd.Sum,
            groups=compression.groups if variant == "gq_stock" else None,
        )
        steps[variant], timed[variant] = make_step(model, stock, shape), compression
    for update in ("synchronous", "layerwise"):
        model = make_model(name, shape[1])
        fast = DistributedOptimizer(sgd(model), model, wire_bits=wire_bits, update=update)
        steps[f"gq_{update}"], timed[f"gq_{update}"] = make_step(model, fast, shape), fast
    return steps, timed


def run_model(name: str, wire_bits: int, repeats: int, shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Measure all variants of one model on this rank; rows hold medians over the slower rank's times."""
    import horovod.torch as hvd

    steps, timed = make_variants(name, wire_bits, shape)
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for repeat in range(-WARMUP, repeats):
        for each in timed.values():
            each.timings.enabled = repeat >= 0
        for variant, step in steps.items():
            hvd.barrier()
            start = time.perf_counter()
            step()
            if repeat >= 0:
                times[variant].append(time.perf_counter() - start)
    slower = {
        variant: hvd.allgather(torch.tensor([seconds]), name=f"times.{variant}").amax(0).tolist()
        for variant, seconds in times.items()
    }
    medians = {variant: statistics.median(seconds) for variant, seconds in slower.items()}
    rows = []
    for variant, seconds in medians.items():
        row: dict[str, Any] = {"model": name, "variant": variant, "wire_bits": wire_bits, "repeats": repeats}
        row |= {"step_seconds_median": seconds, "step_over_local": seconds / medians["local"]}
        row |= {"step_over_sdp": seconds / medians["sdp"]}
        row |= {"step_over_fast": seconds / medians["gq_synchronous"]}
        if variant in timed:
            timings = timed[variant].timings
            row["encode_seconds"] = timings.encode_seconds / repeats
            row["decode_seconds"] = timings.decode_seconds / repeats
            row["codec_over_step"] = (row["encode_seconds"] + row["decode_seconds"]) / seconds
            row["wire_bytes_per_step"] = timed[variant].wire_bytes_per_step()
        rows.append(row)
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        overhead = f"{100 * row['codec_over_step']:5.2f} %" if "codec_over_step" in row else ""
        print(
            f"{row['model']:<12} {row['variant']:<15} {1e3 * row['step_seconds_median']:9.1f} ms"
            f"  over local {row['step_over_local']:6.3f}  over sdp {row['step_over_sdp']:6.3f}"
            f"  over fast path {row['step_over_fast']:6.3f}  codec {overhead}",
            flush=True,
        )


def worker(arguments: argparse.Namespace) -> None:
    import horovod.torch as hvd

    hvd.init()
    torch.set_num_threads(1)
    torch.manual_seed(hvd.rank())
    rows: list[dict[str, Any]] = []
    shape = (arguments.batch_size, arguments.image_size)
    for name in arguments.models:
        rows += run_model(name, arguments.wire_bits, arguments.repeats, shape)
        if hvd.rank() == 0:
            print_rows(rows[-6:])
    model = make_model("densenet200", arguments.image_size)
    collectives = DistributedOptimizer(
        sgd(model), model, wire_bits=arguments.wire_bits
    ).collectives_per_step()
    if hvd.rank() == 0:
        print(f"densenet200  collectives per step: {collectives}", flush=True)
        if arguments.json:
            rows.append({"model": "densenet200", "collectives_per_step": collectives})
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    hvd.shutdown()


def launch(arguments: argparse.Namespace) -> int:
    """Start two ranks of this module with the horovodrun of this interpreter."""
    bin_dir = Path(sys.executable).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{bin_dir}{os.pathsep}{environment.get('PATH', '')}"
    command = [str(bin_dir / "horovodrun"), "-np", "2", "--gloo", "-H", "localhost:2", sys.executable]
    command += ["-m", "benchmarks.step", "--worker", "--repeats", str(arguments.repeats)]
    command += ["--wire-bits", str(arguments.wire_bits)]
    command += ["--batch-size", str(arguments.batch_size), "--image-size", str(arguments.image_size)]
    command += ["--models", *arguments.models]
    if arguments.json:
        command += ["--json", str(arguments.json.resolve())]
    return subprocess.run(command, env=environment, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--wire-bits", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32, help="images a rank and step")
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
    else:
        sys.exit(launch(arguments))


if __name__ == "__main__":
    main()
