"""Checkpoints of a distributed run: one file a rank and epoch, so that an interrupted run goes on exactly.

Residuals and scales differ between ranks, hence a file each. The two last epochs are kept: a kill between the
writes of two ranks then still leaves an epoch that all of them have.
"""

import os
import re
from pathlib import Path
from typing import Any

import horovod.torch as hvd
import torch

EPOCHS_KEPT = 2


def rank_file(folder: Path, rank: int, epoch: int) -> Path:
    """Return the path of a rank's checkpoint after `epoch` epochs."""
    return folder / f"rank{rank}.epoch{epoch}.pt"


def save_atomically(payload: Any, path: Path) -> None:
    """Write `payload` with torch.save so that `path` is either the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    torch.save(payload, temporary)
    os.replace(temporary, path)


def save(folder: Path, epoch: int, payload: dict[str, Any]) -> None:
    """Write this rank's checkpoint and remove its outdated ones."""
    rank = hvd.rank()
    save_atomically(payload, rank_file(folder, rank, epoch))
    for old in _epochs_of(folder, rank):
        if old <= epoch - EPOCHS_KEPT:
            rank_file(folder, rank, old).unlink(missing_ok=True)


def load_common(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return this rank's checkpoint of the last epoch that every rank holds for `fingerprint`, or None."""
    rank = hvd.rank()
    payloads = {
        epoch: torch.load(rank_file(folder, rank, epoch), weights_only=True)
        for epoch in _epochs_of(folder, rank)
    }
    mine = {epoch for epoch, payload in payloads.items() if payload["fingerprint"] == fingerprint}
    common = set.intersection(*hvd.allgather_object(mine))
    return payloads[max(common)] if common else None


def finish(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Replace this rank's checkpoints by the final weights (rank 0 writes `model.pt`).

    A finished run leaves nothing to resume: when DVC reruns the stage, its inputs changed.
    """
    for epoch in _epochs_of(folder, hvd.rank()):
        rank_file(folder, hvd.rank(), epoch).unlink(missing_ok=True)
    if hvd.rank() == 0:
        save_atomically(weights, folder / "model.pt")


def _epochs_of(folder: Path, rank: int) -> list[int]:
    pattern = re.compile(rf"rank{rank}\.epoch(\d+)\.pt")
    matches = (pattern.fullmatch(path.name) for path in folder.glob(f"rank{rank}.epoch*.pt"))
    return sorted(int(match[1]) for match in matches if match)
