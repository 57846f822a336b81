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


def packed(sizes: list[int], width: int, row: int, exchange: str, group: int | None = None) -> int:
    """Payload of one bucket of GQ: whole planes of rows; docs/horovod_gq.md, wire format."""
    planes = {2: 4, 3: 10, 4: 2, 8: 1, 16: 2}[width]
    rows = sum(ceil(size / row) for size in sizes)
    scales = sum(ceil(size / group) if group else 1 for size in sizes)
    if exchange == "allreduce":
        # Eight header lanes a scale. At width 3 and two workers ten values share a word.
        values = ceil(rows / planes) * planes * row
        return 4 * values // {3: 10}.get(width, 32 // width) + scales * 8 * max(4, width) // 8
    # Two messages: N chunks and one. A byte for each scale in the chunk that has most.
    total = ceil(rows / (planes * WORKERS)) * planes * WORKERS
    owners = [number for number, size in enumerate(sizes) for _ in range(ceil(size / row))]
    owners += [len(sizes) - 1] * (total - rows)
    assert group is None
    halves = (owners[: total // WORKERS], owners[total // WORKERS :])
    chunk = total // WORKERS * row * width // 8 + aligned(max(len(set(half)) for half in halves))
    return (WORKERS + 1) * chunk


def small_gq(shapes: Shapes, entry: dict[str, Any]) -> int:
    """The bucket of small tensors, in the order of the gradients: fp32 and a canary, or rows of 16 values."""
    width = entry.get("small_bits", 32)
    if width == 32:
        return 4 * split(shapes)[0] + CANARY
    small = [numel(shape) for shape in reversed(shapes) if len(shape) <= 1 or numel(shape) < 1024]
    return packed(small, width, 16, entry["exchange"], entry.get("scale_group"))


def gq(shapes: Shapes, entry: dict[str, Any]) -> int:
    """Rows of 128 values; the model is one bucket of each kind. Behind Horovod's optimizer placeholders come on top."""
    large = split(shapes)[1][::-1]
    words = packed(large, entry["wire_bits"], 128, entry["exchange"], entry.get("scale_group"))
    placeholders = 4 * len(shapes) if entry.get("path") == "stock" else 0
    return small_gq(shapes, entry) + words + placeholders


def gq_lowrank(shapes: Shapes, entry: dict[str, Any]) -> int:
    """Columns of P and of Q in rows of 16 values; here they save bytes for every large tensor."""
    lengths: tuple[list[int], list[int]] = ([], [])
    for shape in reversed(shapes):
        if len(shape) > 1 and numel(shape) >= 1024:
            for side, length in enumerate((shape[0], numel(shape) // shape[0])):
                lengths[side].extend(
                    [length] * min(entry["factor_rank"], *shape[:1], numel(shape) // shape[0])
                )
    factors = sum(packed(columns, entry["factor_bits"], 16, entry["exchange"]) for columns in lengths)
    return small_gq(shapes, entry) + factors


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


def signs(shapes: Shapes, entry: dict[str, Any]) -> int:
    large = split(shapes)[1]
    return small_bytes(shapes) + aligned(4 * len(large) + ceil(sum(large) / 8))


def terngrad(shapes: Shapes, entry: dict[str, Any]) -> int:
    large = split(shapes)[1]
    return small_bytes(shapes) + 4 * len(large) + aligned(ceil(sum(large) / 4))


def threshold(shapes: Shapes, entry: dict[str, Any]) -> int:
    """Of as many entries as the test reports: the gradients decide; and a number of 8 bytes before the message."""
    assert entry["room"] % 64 == 0
    return small_bytes(shapes) + 8 + 8 * entry["room"]


def inceptionn(shapes: Shapes, entry: dict[str, Any]) -> int:
    """Of as many bytes as the test reports, at least the tags; and a number of 8 bytes before the message."""
    assert entry["room"] % 4096 == 0
    assert sum(split(shapes)[1]) / 4 <= entry["room"] <= 4096 + 4.25 * sum(split(shapes)[1])
    return small_bytes(shapes) + 8 + entry["room"]


def sketch(shapes: Shapes, entry: dict[str, Any]) -> int:
    large = split(shapes)[1]
    assert entry["bits"] == 6, "four bits in one plane, two in another"
    return small_bytes(shapes) + aligned(64 * 4 * len(large) + ceil(sum(large) / 2) + ceil(sum(large) / 4))


def adaq(shapes: Shapes, entry: dict[str, Any]) -> int:
    large = split(shapes)[1]
    return small_bytes(shapes) + sum(8 + 4 * ceil(entry["density"] * size) for size in large)


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
    "gq_hierarchical": gq,
    "gq_lowrank": gq_lowrank,
    "ssp": lambda shapes, entry: 4 * (sum(map(numel, shapes)) + 1),
    "powersgd": powersgd,
    "topk": lambda shapes, entry: small_bytes(shapes) + 8 * ceil(entry["density"] * sum(split(shapes)[1])),
    "terngrad": terngrad,
    "qsgd": qsgd,
    "signsgd": signs,
    "efsignsgd": signs,
    "signum": lambda shapes, entry: small_bytes(shapes) + aligned(ceil(sum(split(shapes)[1]) / 8)),
    "onebit": lambda shapes, entry: (
        small_bytes(shapes) + aligned(8 * len(split(shapes)[1]) + ceil(sum(split(shapes)[1]) / 8))
    ),
    "natural": lambda shapes, entry: small_bytes(shapes) + aligned(sum(split(shapes)[1])),
    "threshold": threshold,
    "u8bit": lambda shapes, entry: small_bytes(shapes) + aligned(sum(4 + size for size in split(shapes)[1])),
    "adaq": adaq,
    "sketch": sketch,
    "inceptionn": inceptionn,
    "randomk": lambda shapes, entry: small_bytes(shapes) + 4 * ceil(entry["density"] * sum(split(shapes)[1])),
    "dgc": lambda shapes, entry: (
        small_bytes(shapes) + 8 * sum(ceil(entry["density"] * count) for count in split(shapes)[1])
    ),
}
