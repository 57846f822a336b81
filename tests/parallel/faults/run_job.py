"""A distributed job as its stage runs it, in the folder of its parameter file; the rank checkpoints stay at its end.

`python -m tests.parallel.faults.run_job PARAMS`. With GQBENCH_POISON=EPOCH the loss of rank 1 is NaN in that epoch.
"""

import math
import os
import sys
from pathlib import Path
from typing import Any

import horovod.torch as hvd
import torch

from pipelines import checkpoints
from pipelines.entry import run_stage
from pipelines.parallel.run import checkpoint
from pipelines.parallel.run.job import load_job
from pipelines.parallel.run.launch import run

METHOD = "gq4"
POISON = "GQBENCH_POISON"


def keep_rank_files(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """In place of `checkpoint.finish`: the quantizers' states are compared afterwards."""
    if hvd.rank() == 0:
        checkpoints.save(weights, folder / "model.pt")
    hvd.barrier()


def poison(epoch: int) -> None:
    """Make the logits of rank 1 NaN in training from `epoch` on, from 1."""
    from pipelines.parallel.run.worker import Worker

    train_epoch = Worker.train_epoch

    def poisoned(worker: Worker) -> dict[str, float | int]:
        if worker.rank == 1 and worker.epoch + 1 == epoch:
            worker.model.register_forward_hook(spoil)
        return train_epoch(worker)

    def spoil(model: torch.nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor | None:
        return output * math.nan if model.training else None

    Worker.train_epoch = poisoned  # type: ignore[method-assign]


def main() -> None:
    params = Path(sys.argv[1])
    os.chdir(params.parent)
    checkpoint.finish = keep_rank_files
    if POISON in os.environ:
        poison(int(os.environ[POISON]))
    program = ["-m", "tests.parallel.faults.run_job", str(params)]
    run(load_job("densenet10", METHOD, params), program)


if __name__ == "__main__":
    run_stage(main)
