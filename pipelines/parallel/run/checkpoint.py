"""Checkpoints of a distributed run: one file a rank and epoch, so that an interrupted run goes on exactly.

Residuals and scales differ between ranks, hence a file each. The two last epochs are kept: a kill between the
writes of two ranks then still leaves an epoch that all of them have.
"""

import re
import sys
from pathlib import Path
from typing import Any

import horovod.torch as hvd
import torch

from pipelines import checkpoints
from pipelines.checkpoints import CheckpointError

EPOCHS_KEPT = 2


def rank_file(folder: Path, rank: int, epoch: int) -> Path:
    """Return the path of a rank's checkpoint after `epoch` epochs."""
    return folder / f"rank{rank}.epoch{epoch}.pt"


def save(folder: Path, epoch: int, payload: dict[str, Any]) -> None:
    """Write this rank's checkpoint and remove its outdated ones."""
    rank = hvd.rank()
    checkpoints.save(payload, rank_file(folder, rank, epoch))
    for old in _epochs_of(folder, rank):
        if old <= epoch - EPOCHS_KEPT:
            rank_file(folder, rank, old).unlink(missing_ok=True)


def load_common(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return this rank's checkpoint of the last epoch that every rank holds for `fingerprint`, or None.

    A damaged file is named on stderr, removed and passed over: then all ranks go back to the epoch before.
    """
    payloads = _load_whole(folder, hvd.rank())
    mine = {epoch for epoch, payload in payloads.items() if payload["fingerprint"] == fingerprint}
    common = set.intersection(*hvd.allgather_object(mine))
    return payloads[max(common)] if common else None


def _load_whole(folder: Path, rank: int) -> dict[int, dict[str, Any]]:
    """Return the rank's whole checkpoints by epoch."""
    payloads: dict[int, dict[str, Any]] = {}
    lost = 0
    for epoch in _epochs_of(folder, rank):
        path = rank_file(folder, rank, epoch)
        try:
            payload = checkpoints.load(path)
            if not isinstance(payload, dict) or "fingerprint" not in payload:
                raise CheckpointError(path, "is no checkpoint of a distributed run")
            payloads[epoch] = payload
        except CheckpointError as error:
            checkpoints.drop(error)
            lost += 1
    if lost:
        way = f"goes on from epoch {max(payloads)} or before" if payloads else "starts anew"
        print(f"warning: the run in {folder} {way}", file=sys.stderr, flush=True)
    return payloads


def finish(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Replace this rank's checkpoints by the final weights (rank 0 writes `model.pt`).

    A finished run leaves nothing to resume: when DVC reruns the stage, its inputs changed.
    """
    if hvd.rank() == 0:
        checkpoints.save(weights, folder / "model.pt")
    hvd.barrier()  # no rank gives up its checkpoint before the weights are on the disk
    discard(folder)


def discard(folder: Path) -> None:
    """Remove this rank's checkpoints: the next run starts anew."""
    for epoch in _epochs_of(folder, hvd.rank()):
        rank_file(folder, hvd.rank(), epoch).unlink(missing_ok=True)


def _epochs_of(folder: Path, rank: int) -> list[int]:
    pattern = re.compile(rf"rank{rank}\.epoch(\d+)\.pt")
    matches = (pattern.fullmatch(path.name) for path in folder.glob(f"rank{rank}.epoch*.pt"))
    return sorted(int(match[1]) for match in matches if match)
