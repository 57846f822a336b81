"""What the exchanges need of a communication library; Horovod and torch.distributed provide it."""

from __future__ import annotations

from typing import Protocol

import torch

__all__ = ["Collectives", "Pending"]


class Pending(Protocol):
    """A collective that has been started."""

    def wait(self) -> torch.Tensor:
        """Block until the result is there and return it."""
        ...


class Collectives(Protocol):
    """Asynchronous collectives. All ranks start the same ones; `name` is unique among those in flight."""

    rank: int
    workers: int

    def start_sum(self, tensor: torch.Tensor, name: str) -> Pending:
        """Sum over the ranks, in place."""
        ...

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> Pending:
        """Send row k of `tensor` [N, ...] to rank k; the result's row k came from rank k."""
        ...

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> Pending:
        """Gather `tensor` of every rank; the result is [N, ...] in the order of the ranks."""
        ...


def check_agreement(collectives: Collectives, digest: bytes, prefix: str) -> None:
    """Raise a ValueError on every rank unless all ranks have the same digest of settings and shapes."""
    mine = torch.tensor(list(digest), dtype=torch.uint8)
    gathered = collectives.start_all_gather(mine, f"{prefix}.agree").wait()
    different = [
        rank for rank, other in enumerate(gathered) if not torch.equal(other.cpu(), gathered[0].cpu())
    ]
    if different:
        raise ValueError(
            f"ranks {different} run GQ with other settings, another model or another version than rank 0; give every "
            "rank the same GQConfig, modes, parameters in the same order and horovod_gq"
        )
