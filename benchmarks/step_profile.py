"""Where the time of a training step goes, by operation, and how far that is from what cores and memory allow.

    python -m benchmarks.step_profile [--models densenet100 densenet200] [--sizes 32 16] [--batch-size 64]
        [--threads 1] [--steps 5] [--json FILE]

Every operation of torch that a step calls is timed where it is dispatched, forward and backward pass and the optimizer.
The limit of an operation is the longer of two times: its floating-point operations at the rate of a large matrix
product, and the bytes of its inputs and outputs at the rate of a large copy, both measured before. What stays in a
cache can be faster than that limit.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.training import NUM_CHANNELS, NUM_CLASSES, plain_densenet, plain_recipe
from pipelines.entry import run_stage
from pipelines.errors import UserError
from pipelines.experiments.study.runs.steps import make_step
from pipelines.models import build_model
from pipelines.provenance import provenance
from pipelines.results import Row, write_json
from pipelines.tables import Column, count, decimal, make_table, milliseconds, percent, plain

MATRIX_SIDE = 1024
COPIED_BYTES = 2**28
REPEATS = 5
SHOWN = 9
COLUMNS = (
    Column("operation", "operation"),
    Column("calls", "calls", count),
    Column("seconds", "time", milliseconds),
    Column("share", "of the step", percent),
    Column("gigaflop", "GFLOP", decimal),
    Column("megabytes", "MB", count),
    Column("limit_seconds", "limit", milliseconds),
    Column("over_limit", "time over limit", decimal),
)


@dataclass
class Cost:
    """What an operation has cost in all steps."""

    calls: int = 0
    seconds: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the cost of every operation that is dispatched while it is active, by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.costs: dict[str, Cost] = defaultdict(Cost)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run and time `func`, an overload of an operation."""
        kwargs = kwargs or {}
        start = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        packet = func._overloadpacket
        cost = self.costs[packet.__name__]
        cost.calls += 1
        cost.seconds += seconds
        if packet in flop_registry:
            cost.flop += flop_registry[packet](*args, **kwargs, out_val=out)
        if not is_view(func):
            written_only = args[:1] if packet.__name__ in ("copy_", "fill_", "zero_") else ()
            cost.bytes += nbytes((args, kwargs, out)) - nbytes(written_only)
        return out


def is_view(func: Any) -> bool:
    """Tell whether an operation returns what it was given in another shape, which moves nothing."""
    aliases = [value.alias_info for value in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def nbytes(values: Any) -> int:
    """Return the bytes of all tensors in `values`, nested as they may be."""
    return sum(
        value.numel() * value.element_size() for value in tree_leaves(values) if isinstance(value, Tensor)
    )


def fastest(work: Callable[[], object]) -> float:
    """Return the shortest of some times of `work` in seconds."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def machine_rates() -> tuple[float, float]:
    """Return the floating-point operations a second of a large product and the bytes a second of a large copy."""
    first, second = (torch.randn(MATRIX_SIDE, MATRIX_SIDE) for _ in range(2))
    flops = 2 * MATRIX_SIDE**3 / fastest(lambda: first @ second)
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return flops, 2 * COPIED_BYTES / fastest(lambda: target.copy_(source))


def profile(model: str, size: int, arguments: argparse.Namespace, rates: tuple[float, float]) -> list[Row]:
    """Return a row an operation of a training step, and one of them all."""
    network = build_model(
        model,
        num_channels=NUM_CHANNELS,
        num_classes=NUM_CLASSES,
        image_size=size,
        densenet=plain_densenet(),
        seed=0,
    )
    recipe = replace(plain_recipe(arguments.batch_size), device="cpu")
    images = torch.randn(arguments.batch_size, NUM_CHANNELS, size, size)
    labels = torch.randint(0, NUM_CLASSES, (arguments.batch_size,))
    step = make_step(network, recipe, images, labels)
    step_seconds = fastest(step)
    operations = Operations()
    with operations:
        for _ in range(arguments.steps):
            step()
    facts: Row = {
        "model": model,
        "image_size": size,
        "batch_size": arguments.batch_size,
        "threads": torch.get_num_threads(),
        "step_seconds": step_seconds,
        "matrix_product_flops": rates[0],
        "copy_bytes_per_second": rates[1],
        **provenance("cpu"),
    }
    rows = operation_rows(operations.costs, arguments.steps, rates)
    return [facts | row for row in rows]


def operation_rows(costs: dict[str, Cost], steps: int, rates: tuple[float, float]) -> list[Row]:
    """Return a row an operation and step, the dearest first, and last one of all, `step`."""
    total = sum(cost.seconds for cost in costs.values())
    rows: list[Row] = []
    for name, cost in sorted(costs.items(), key=lambda item: -item[1].seconds):
        limit = max(cost.flop / rates[0], cost.bytes / rates[1])
        rows.append(_row(name, cost, steps, limit, total))
    every = Cost(*(sum(getattr(cost, key) for cost in costs.values()) for key in vars(Cost())))
    return [*rows, _row("step", every, steps, steps * sum(row["limit_seconds"] for row in rows), total)]


def _row(name: str, cost: Cost, steps: int, limit: float, total: float) -> Row:
    return {
        "operation": name,
        "calls": cost.calls / steps,
        "seconds": cost.seconds / steps,
        "share": cost.seconds / total,
        "gigaflop": cost.flop / steps / 1e9,
        "megabytes": cost.bytes / steps / 1e6,
        "limit_seconds": limit / steps,
        "over_limit": cost.seconds / limit if limit else None,
    }


def shown(rows: Sequence[Row]) -> str:
    """Return the dearest operations and the step as a table."""
    first = rows[0]
    title = (
        f"{first['model']}, {first['image_size']} pixels, batch {first['batch_size']}, {first['threads']} thread(s): "
        f"{1000 * first['step_seconds']:.0f} ms a step without the clocks"
    )
    return f"{title}\n{plain(make_table([*rows[:-1][:SHOWN], rows[-1]], COLUMNS))}\n"


def main() -> None:
    """Measure the machine, then every model at every size, and print a table of each."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_profile", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--models", nargs="+", default=["densenet100", "densenet200"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 16], help="pixels a side")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="timed steps (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    arguments = parser.parse_args()
    for key in ("batch_size", "threads", "steps"):
        if (value := getattr(arguments, key)) < 1:
            raise UserError(
                f"--{key.replace('_', '-')}: {value} is not allowed; allowed: a whole number of at least 1"
            )
    torch.set_num_threads(arguments.threads)
    rates = machine_rates()
    print(f"matrix product {rates[0] / 1e9:.0f} GFLOP/s, copy {rates[1] / 1e9:.1f} GB/s read and written\n")
    rows: list[Row] = []
    for model in arguments.models:
        for size in arguments.sizes:
            rows += (mine := profile(model, size, arguments, rates))
            print(shown(mine), flush=True)
    if arguments.json is not None:
        write_json(arguments.json, rows)


if __name__ == "__main__":
    run_stage(main)
