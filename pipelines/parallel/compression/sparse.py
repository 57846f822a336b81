"""The wire format of sparse gradients: fp32 values and int32 indices, eight bytes an entry."""

import math

import torch

from pipelines.errors import UserError

MOST_VALUES = 2**31 - 1


def check_indices(num_values: int) -> None:
    """Raise UserError for a model with more values than an int32 index can name."""
    if num_values > MOST_VALUES:
        raise UserError(f"a model with {num_values} compressed values is too large; allowed: {MOST_VALUES}")


def entries_of(num_values: int, density: float) -> int:
    """Return how many of `num_values` values are sent: ceil(density * num_values), at least 1 (0 of none)."""
    return min(num_values, max(1, math.ceil(density * num_values)))


def sparse_bytes(count: int) -> int:
    """Return the bytes of `count` entries: an fp32 value and an int32 index each."""
    return 8 * count


def sparse_payload(values: torch.Tensor, indices: torch.Tensor, count: int) -> torch.Tensor:
    """Return uint8 [8 * count]: fp32 values, then int32 indices; missing entries are value 0 at index 0."""
    payload = torch.zeros(8 * count, dtype=torch.uint8, device=values.device)
    payload[: 4 * count].view(torch.float32)[: values.numel()] = values
    payload[4 * count :].view(torch.int32)[: indices.numel()] = indices.to(torch.int32)
    return payload


def add_payloads(payloads: torch.Tensor, out: torch.Tensor) -> None:
    """Write the average of the sparse payloads, uint8 [ranks, 8 * count], to `out`, fp32 [n]."""
    out.zero_()
    ranks, num_bytes = payloads.shape
    for payload in payloads:
        values = payload[: num_bytes // 2].view(torch.float32)
        indices = payload[num_bytes // 2 :].view(torch.int32)
        out.index_add_(0, indices, values, alpha=1.0 / ranks)
