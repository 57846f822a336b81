"""Which scale loses least: clip factors of the root mean square against the maximum, per number of levels.

Run: python -m benchmarks.scale [--json FILE]
     python -m benchmarks.scale --groups [--json FILE]     how many values should share a scale

A small convolutional network learns scikit-learn's digits with fp32 averages. In every step the workers' gradients
also go through virtual clusters that differ in the clip factor alone, each with its own error feedback. Printed
are the relative error of a step, ||decoded average - average|| / ||average|| (mean over tensors' norms and steps),
and in brackets that of the sum over all steps, which error feedback keeps from growing. The rule `max` takes the
largest magnitude of any worker in the same step (no delay: it is favoured), on the same grid of steps.

With --groups the gradient of a model of the suite after some fp32 steps on the digits, and beside it a random one of
the same norms, go through GQ twice without error feedback: the first message calibrates, the second one is compared.
Printed is the relative squared error ||decoded - gradient||^2 / ||gradient||^2 over all quantized tensors.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

from horovod_gq.config import GQConfig, num_levels
from horovod_gq.scale import step_grid
from horovod_gq.virtual import VirtualCluster
from pipelines.config import load_section
from pipelines.models.base import build_model
from pipelines.models.config import DenseNetConfig

CELLS = ((4, 2), (4, 4), (4, 7), (8, 2), (8, 16), (8, 64), (16, 64))
"""(wire bits, workers): levels 3, 1, 1, 63, 7, 1 and 511."""
FACTORS = (0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0)
GROUP_MODELS = (("vgg16_bn", 10), ("densenet100", 40))
"""(model, fp32 steps before its gradient is taken)."""
GROUP_WORKERS = (2, 1)
"""Workers with the same gradient at 4 bits: levels 3 and 7."""
GROUPS = (None, 4096, 1024, 128)
"""Values that share a scale."""
PRESETS = Path(__file__).parents[1] / "conf/config.yaml"
BATCH_SIZE = 8
IGNORED_STEPS = 5

Gradients = dict[str, torch.Tensor]


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


class MaximumRule:
    """Quantizes to the grid step that holds the largest magnitude of any worker, with error feedback."""

    def __init__(self, workers: int, levels: int) -> None:
        self._levels, self._workers = levels, workers
        self._residuals: list[Gradients] = [{} for _ in range(workers)]

    def average(self, gradients: list[Gradients]) -> Gradients:
        """Quantize every worker's gradients and return their mean; mutates the residuals."""
        averages: Gradients = {}
        for name in gradients[0]:
            totals = [g[name] + r.get(name, 0.0) for g, r in zip(gradients, self._residuals, strict=True)]
            largest = max(float(total.abs().max()) for total in totals)
            grid = step_grid()
            step = float(grid[torch.bucketize(torch.tensor(largest / self._levels, dtype=grid.dtype), grid)])
            sent = [(total / step).round().clamp(-self._levels, self._levels) * step for total in totals]
            for residual, total, value in zip(self._residuals, totals, sent, strict=True):
                residual[name] = total - value
            averages[name] = torch.stack(sent).mean(0)
        return averages


class Errors:
    """Relative errors of one rule over the steps."""

    def __init__(self) -> None:
        self.per_step: list[float] = []
        self._sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, decoded: Gradients, true: Gradients, ignored: bool) -> None:
        """Compare one decoded average with the true one."""
        difference = math.sqrt(sum(float((decoded[n] - true[n]).square().sum()) for n in true))
        norm = math.sqrt(sum(float(true[n].square().sum()) for n in true))
        if not ignored:
            self.per_step.append(difference / norm)
        for name, value in true.items():
            old = self._sums.get(name, (torch.zeros_like(value), torch.zeros_like(value)))
            self._sums[name] = (old[0] + decoded[name], old[1] + value)

    def of_sum(self) -> float:
        """Return the relative error of the sum over all steps."""
        difference = math.sqrt(sum(float((a - b).square().sum()) for a, b in self._sums.values()))
        return difference / math.sqrt(sum(float(b.square().sum()) for _, b in self._sums.values()))


def random_losses(model: nn.Module, batch_size: int = BATCH_SIZE) -> Iterator[torch.Tensor]:
    """Yield the loss of `model`, as it is then, on random batches of the digits, without end."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    while True:
        chosen = torch.randint(0, len(labels), (batch_size,))
        yield nn.functional.cross_entropy(model(images[chosen]), labels[chosen])


def gradient_after(model_name: str, num_steps: int, seed: int) -> dict[str, torch.Tensor]:
    """Gradients of the matrices after so many steps of fp32 training on the digits, 64 images each."""
    densenet = load_section(DenseNetConfig, "densenet", PRESETS)
    model = build_model(
        model_name, num_channels=1, num_classes=10, image_size=8, densenet=densenet, seed=seed
    ).train()
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = random_losses(model, 64)
    for step in range(num_steps + 1):
        optimizer.zero_grad()
        next(losses).backward()  # type: ignore[no-untyped-call]
        if step < num_steps:
            optimizer.step()
    named = model.named_parameters()
    return {n: p.grad.clone() for n, p in named if p.grad is not None and p.dim() > 1 and p.numel() >= 1024}


def measure_groups(model_name: str, num_steps: int, seed: int) -> list[dict[str, Any]]:
    """Relative squared error by number of levels and values a scale, for real and random gradients."""
    real = gradient_after(model_name, num_steps, seed)
    generator = torch.Generator().manual_seed(seed)
    random = {
        n: torch.randn(g.shape, generator=generator) * g.square().mean().sqrt() for n, g in real.items()
    }
    rows: list[dict[str, Any]] = []
    for workers, group, (kind, gradients) in itertools.product(
        GROUP_WORKERS, GROUPS, (("real", real), ("random", random))
    ):
        parameters = {name: nn.Parameter(torch.zeros_like(g)) for name, g in gradients.items()}
        cluster = VirtualCluster(
            list(parameters.items()),
            workers,
            GQConfig(wire_bits=4, scale_group=group, error_feedback=False, compile_kernels=False),
        )
        for _ in range(2):
            for worker in range(workers):
                for name, parameter in parameters.items():
                    parameter.grad = gradients[name]
                cluster.collect(worker)
            cluster.average()
        decoded = {
            name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None
        }
        lost = sum(float((decoded[name] - g).square().sum()) for name, g in gradients.items())
        error = lost / sum(float(g.square().sum()) for g in gradients.values())
        row: dict[str, Any] = {"model": model_name, "step": num_steps, "levels": num_levels(4, workers)}
        row |= {"gradient": kind, "scale_group": group, "squared_error": error}
        rows.append(row | {"wire_bytes": cluster.wire_bytes_per_step()})
    return rows


def print_groups(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        group = row["scale_group"] or "tensor"
        print(
            f"{row['model']:<12} L {row['levels']}  {row['gradient']:<7} {group!s:>7} values a scale:"
            f"  error {row['squared_error']:.4f}  {row['wire_bytes']:>10} bytes",
            flush=True,
        )


def measure_cell(wire_bits: int, workers: int, num_steps: int, seed: int) -> list[dict[str, Any]]:
    """Run one number of levels with all rules on the same gradients."""
    torch.manual_seed(seed)
    model = make_model()
    losses = random_losses(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    levels = num_levels(wire_bits, workers)
    config = {"wire_bits": wire_bits, "min_numel": 100, "compile_kernels": False}
    clusters = {
        factor: VirtualCluster(model, workers, GQConfig(**config, clip_factor=factor))  # type: ignore[arg-type]
        for factor in FACTORS
    }
    maximum = MaximumRule(workers, levels)
    errors: dict[str, Errors] = {str(rule): Errors() for rule in (*FACTORS, "max")}
    quantized = [n for n, p in model.named_parameters() if p.dim() > 1 and p.numel() >= 100]
    parameters = dict(model.named_parameters())
    for step in range(num_steps):
        gradients: list[Gradients] = []
        for worker in range(workers):
            optimizer.zero_grad()
            next(losses).backward()  # type: ignore[no-untyped-call]
            for cluster in clusters.values():
                cluster.collect(worker)
            gradients.append({n: parameters[n].grad.clone() for n in quantized})  # type: ignore[union-attr]
        true = {name: torch.stack([g[name] for g in gradients]).mean(0) for name in quantized}
        ignored = step < IGNORED_STEPS
        for factor, cluster in clusters.items():
            cluster.average()
            decoded = {n: parameters[n].grad.clone() for n in quantized}  # type: ignore[union-attr]
            errors[str(factor)].add(decoded, true, ignored)
        errors["max"].add(maximum.average(gradients), true, ignored)
        for name in quantized:
            parameters[name].grad = true[name]
        optimizer.step()
    return [
        {
            "wire_bits": wire_bits,
            "workers": workers,
            "levels": levels,
            "rule": rule,
            "step_error": sum(e.per_step) / len(e.per_step),
            "sum_error": e.of_sum(),
        }
        for rule, e in errors.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", action="store_true", help="compare numbers of values a scale instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    if arguments.groups:
        for model_name, num_steps in GROUP_MODELS:
            rows += measure_groups(model_name, num_steps, arguments.seed)
        print_groups(rows)
    else:
        rows = measure_factors(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure_factors(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and print all cells."""
    rows: list[dict[str, Any]] = []
    print("bits  N   L  " + "  ".join(f"{rule!s:>11}" for rule in (*FACTORS, "max")))
    for wire_bits, workers in CELLS:
        cell = measure_cell(wire_bits, workers, arguments.steps, arguments.seed)
        rows += cell
        values = "  ".join(f"{row['step_error']:.3f} ({row['sum_error']:.2f})".rjust(11) for row in cell)
        print(f"{wire_bits:>4} {workers:>2} {cell[0]['levels']:>3}  {values}", flush=True)
    return rows


if __name__ == "__main__":
    main()
