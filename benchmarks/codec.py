"""Encode and decode of 14.7 million gradients (VGG-16's convolutions), as ratios to a plain copy.

Run: python -m benchmarks.codec [--json FILE]

One thread. Every repeat times all variants once, interleaved, so that drift hits all alike; a ratio is that of
the medians. Nothing is asserted: the targets are in the README.

The floors are passes over the memory that a codec cannot leave alone, without its arithmetic: gradients are added
onto residuals and words written; words are read and every value of the result is written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from horovod_gq.codec import BucketCodec
from horovod_gq.config import WIRE_WIDTHS, GQConfig, num_levels
from horovod_gq.layout import ROW, BucketLayout
from horovod_gq.packing import num_planes

VGG16_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
"""Input channels of VGG-16's 13 convolutions and the output of the last (Simonyan and Zisserman 2015)."""

Variant = Callable[[], object]


def convolution_shapes() -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the convolutions' weights: 14,710,464 values."""
    pairs = itertools.pairwise(VGG16_CHANNELS)
    return [(f"conv{i}", (out, channels, 3, 3)) for i, (channels, out) in enumerate(pairs)]


def make_codec(wire_bits: int, compiled: bool, rounding: str) -> BucketCodec:
    """Build a codec past its calibration step, for two workers where the width carries two."""
    workers = 1 if wire_bits == 2 else 2
    layout = BucketLayout(convolution_shapes(), num_planes(wire_bits, workers))
    config = GQConfig(wire_bits=wire_bits, compile_kernels=compiled, rounding=rounding)
    codec = BucketCodec(layout, config, wire_bits, workers=workers, rank=0, device=torch.device("cpu"))
    if compiled and not codec.kernels_compiled:
        raise SystemExit("the kernels could not be compiled, so there is nothing to measure")
    flat = torch.randn(layout.num_rows, ROW)
    codec.decode(codec.encode(flat) * workers, torch.empty_like(flat))
    return codec


def qsgd_encode(gradient: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """QSGD (Alistarh 2017) with stochastic levels of the 2-norm, a byte a value, in plain torch operations."""
    norm = gradient.norm(2)
    scaled = levels * gradient.abs() / norm
    floor = scaled.floor()
    level = floor + (torch.rand_like(scaled) < scaled - floor)
    return (gradient.sign() * level).to(torch.int8), norm


def medians(variants: dict[str, Variant], repeats: int) -> dict[str, float]:
    """Median seconds of every variant over interleaved repeats, after two warm-up rounds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(-2, repeats):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if repeat >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure_width(wire_bits: int, rounding: str, repeats: int) -> dict[str, float | int | str]:
    """Measure one row of the table."""
    fast, eager = (make_codec(wire_bits, compiled, rounding) for compiled in (True, False))
    gradient = torch.randn(fast.layout.num_rows, ROW)
    out = torch.empty_like(gradient)
    message = fast.encode(gradient).clone()
    residual, words = torch.zeros_like(gradient), torch.empty_like(message)
    levels = num_levels(wire_bits, fast.workers)
    variants: dict[str, Variant] = {
        "copy": lambda: out.copy_(gradient),
        "encode": lambda: fast.encode(gradient),
        "decode": lambda: fast.decode(message, out),
        "encode_floor": lambda: (residual.add_(gradient), words.copy_(message)),
        "decode_floor": lambda: (words.copy_(message), out.fill_(1.0)),
        "eager": lambda: eager.encode(gradient),
        "qsgd": lambda: qsgd_encode(gradient, min(levels, 127)),
    }
    seconds = medians(variants, repeats)
    return {
        "wire_bits": wire_bits,
        "rounding": rounding,
        "num_values": gradient.numel(),
        "repeats": repeats,
        "copy_seconds": seconds["copy"],
        "encode_over_copy": seconds["encode"] / seconds["copy"],
        "decode_over_copy": seconds["decode"] / seconds["copy"],
        "encode_floor_over_copy": seconds["encode_floor"] / seconds["copy"],
        "decode_floor_over_copy": seconds["decode_floor"] / seconds["copy"],
        "eager_over_encode": seconds["eager"] / seconds["encode"],
        "qsgd_over_encode": seconds["qsgd"] / seconds["encode"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rounding", choices=("nearest", "stochastic"), default="nearest")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [measure_width(wire_bits, arguments.rounding, arguments.repeats) for wire_bits in WIRE_WIDTHS]
    keys = [key for key in rows[0] if "_over_" in key]
    print("wire_bits  " + "  ".join(keys) + "  copy_ms")
    for row in rows:
        ratios = "  ".join(f"{row[key]:>{len(key)}.2f}" for key in keys)
        print(f"{row['wire_bits']:>9}  {ratios}  {1e3 * float(row['copy_seconds']):7.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
