"""The payload of one worker and step, computed from the shapes and the literature alone."""

from collections.abc import Callable
from math import ceil
from typing import Any

Shapes = list[tuple[int, ...]]
WORKERS = 2
CANARY = 4 * 9
"""Behind the bucket of small tensors: the number of ranks, four digits of the settings, and their squares."""


def numel(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def split(shapes: Shapes) -> tuple[int, list[int]]:
    """Values of all small tensors, and of each large one."""
    large = [numel(shape) for shape in shapes if len(shape) > 1 and numel(shape) >= 1024]
    return sum(map(numel, shapes)) - sum(large), large


def small_bytes(shapes: Shapes) -> int:
    """fp32 of the small tensors and the status value."""
    return 4 * (split(shapes)[0] + 1)


def aligned(num_bytes: int) -> int:
    return ceil(num_bytes / 4) * 4


def gq(shapes: Shapes, entry: dict[str, Any]) -> int:
    """Rows of 128 values, whole planes; eight header lanes a tensor; docs/horovod_gq.md, wire format."""
    small, large = split(shapes)
    width = entry["wire_bits"]
    planes = {2: 4, 4: 2, 8: 1, 16: 2}[width]
    rows = [ceil(count / 128) for count in large]
    if entry["exchange"] == "scatter_reduce_allgather":
        # Two messages: N chunks and one. A byte of scale for each tensor in each chunk (the model is one bucket).
        total = ceil(sum(rows) / (planes * WORKERS)) * planes * WORKERS
        chunk = total // WORKERS * 128 * width // 8 + aligned(len(large))
        return 4 * small + CANARY + (WORKERS + 1) * chunk
    if entry.get("path") == "stock":
        padded, canary = sum(ceil(count / planes) * planes for count in rows), 0
    else:
        padded, canary = ceil(sum(rows) / planes) * planes, CANARY
    header = 8 * max(4, width) // 8
    return 4 * small + canary + padded * 128 * width // 8 + len(large) * header


def powersgd(shapes: Shapes, entry: dict[str, Any]) -> int:
    factors = 0
    for shape in shapes:
        if len(shape) > 1 and numel(shape) >= 1024:
            rows, columns = shape[0], numel(shape) // shape[0]
            factors += min(entry["rank"], rows, columns) * (rows + columns)
    return small_bytes(shapes) + 4 * factors


def qsgd(shapes: Shapes, entry: dict[str, Any]) -> int:
    total = sum(split(shapes)[1])
    assert entry["levels"] == 7, "15 numbers take 4 bits"
    norms = ceil(total / entry["bucket_size"])
    return small_bytes(shapes) + aligned(4 * norms + ceil(total / 2))


def terngrad(shapes: Shapes, entry: dict[str, Any]) -> int:
    large = split(shapes)[1]
    return small_bytes(shapes) + 4 * len(large) + aligned(ceil(sum(large) / 4))


def auto(shapes: Shapes, entry: dict[str, Any]) -> int:
    """Of the choice that the test reports: one bucket of large tensors, then that of the small ones."""
    small, large = split(shapes)
    chosen = entry["choice"]
    if chosen.startswith("gq"):
        return gq(shapes, {"wire_bits": int(chosen[2:]), "exchange": "allreduce"})
    size, canary = {"none": (4, 2 * CANARY), "fp16": (2, CANARY)}[chosen]
    return 4 * small + size * sum(large) + canary


EXPECTED: dict[str, Callable[[Shapes, dict[str, Any]], int]] = {
    "auto": auto,
    "sdp": lambda shapes, entry: 4 * sum(map(numel, shapes)),
    "sdp_fp16": lambda shapes, entry: 2 * sum(map(numel, shapes)),
    "gq": gq,
    "gq_layerwise": gq,
    "gq_interval": gq,
    "ssp": lambda shapes, entry: 4 * (sum(map(numel, shapes)) + 1),
    "powersgd": powersgd,
    "topk": lambda shapes, entry: small_bytes(shapes) + 8 * ceil(entry["density"] * sum(split(shapes)[1])),
    "terngrad": terngrad,
    "qsgd": qsgd,
    "signsgd": lambda shapes, entry: (
        small_bytes(shapes) + aligned(4 * len(split(shapes)[1]) + ceil(sum(split(shapes)[1]) / 8))
    ),
    "dgc": lambda shapes, entry: (
        small_bytes(shapes) + 8 * sum(ceil(entry["density"] * count) for count in split(shapes)[1])
    ),
}
