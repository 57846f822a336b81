"""Start `run_job` as a user's stage, find its ranks, send them signals, and compare what two runs have left."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from ruamel.yaml import YAML

from pipelines import checkpoints
from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.parallel.run import checkpoint
from pipelines.results import read_json
from tests.configs import UNCOMPILED
from tests.imports import ROOT
from tests.parallel.faults.run_job import METHOD

JOB = f"densenet10-{METHOD}"
AGREEMENT_BYTES = 32  # a SHA-256 digest
_numbers = itertools.count()


def write_params(folder: Path, epochs: int, **distributed: Any) -> Path:
    """Write the parameters of a job of seconds, with data and a store of its own; return their file."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"train_limit": 200, "test_limit": 100}
    params["recipe"] |= {"epochs": epochs, "batch_size": 16}
    params["distributed"] |= {"epochs": epochs, "batch_size": 16, "warmup_steps": 1, "local_steps": 1}
    # Limits that no busy machine reaches; a test that waits for them sets its own.
    params["distributed"] |= {"silence_warning_seconds": 600, "silence_error_seconds": 1200}
    params["distributed"] |= distributed
    params["tracking"] |= {"enabled": True, "store": f"sqlite:///{folder}/mlflow.db"}
    folder.mkdir()
    file = folder / "params.yaml"
    with file.open("w") as stream:
        yaml.dump(params, stream)
    prepare(load_section(PrepareConfig, "prepare", file), folder / "data/prepared", folder / "samples.png")
    return file


class Launch:
    """A launched job and its processes."""

    def __init__(self, params: Path, **environment: str) -> None:
        self.folder = params.parent
        self._known: set[psutil.Process] = set()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        variables = {**os.environ, **UNCOMPILED, **environment, "PYTHONPATH": path}
        variables.pop("MLFLOW_TRACKING_URI", None)
        self.log = self.folder / f"launch{next(_numbers)}.log"
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "tests.parallel.faults.run_job", str(params)]
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)

    def ranks(self) -> dict[int, psutil.Process]:
        """Return the processes of the ranks that live, by rank."""
        found: dict[int, psutil.Process] = {}
        # What a rank has started inherits its environment and is younger.
        for process in sorted(self.members(), key=lambda process: process.pid):
            with contextlib.suppress(psutil.Error):
                rank = process.environ().get("HOROVOD_RANK")
                if rank is not None and "python" in process.name():
                    found.setdefault(int(rank), process)
        return found

    def members(self) -> list[psutil.Process]:
        """Return all processes of the job that live; seen once, they are known after the launcher's end, too."""
        with contextlib.suppress(psutil.Error):
            self._known.update(psutil.Process(self.process.pid).children(recursive=True))
        return [process for process in self._known if self._lives(process)]

    @staticmethod
    def _lives(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def epoch(self) -> int:
        """Return the last epoch that every rank has saved."""
        folder = self.folder / "checkpoints/distributed" / JOB
        return min(max(checkpoint._epochs_of(folder, rank), default=0) for rank in (0, 1))

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Wait until `condition` holds; return False where the job ended first."""
        while not condition():
            if self.process.poll() is not None:
                return False
            time.sleep(0.1)
        return True

    def signal(self, number: int, *ranks: int) -> float:
        """Send a signal to ranks, to the launcher where none is given; return the time."""
        if ranks:
            alive = self.ranks()
            for rank in ranks:
                alive[rank].send_signal(number)
        else:
            self.process.send_signal(number)
        return time.monotonic()

    def finish(self) -> tuple[int, str]:
        """Wait until launcher and ranks have ended; return the launcher's status and all that was printed."""
        status = self.process.wait()
        while self.members():
            time.sleep(0.1)
        return status, self.log.read_text()


def wait_until_stopped(process: psutil.Process) -> None:
    """SIGSTOP is sent; all threads of a busy process are stopped a little later."""
    while process.status() != psutil.STATUS_STOPPED:
        time.sleep(0.05)


def left(folder: Path) -> dict[str, Any]:
    """Return weights, metrics, optimizer's and quantizer's states that a job has left, without times."""
    checkpoint_folder = folder / "checkpoints/distributed" / JOB
    row = read_json(folder / "results/distributed" / f"{JOB}.json")
    timeless = {k: v for k, v in row.items() if "seconds" not in k and k not in ("commit", "device")}
    found: dict[str, Any] = {"row": timeless, "model": checkpoints.load(checkpoint_folder / "model.pt")}
    for rank in (0, 1):
        epoch = max(checkpoint._epochs_of(checkpoint_folder, rank))
        payload = checkpoints.load(checkpoint.rank_file(checkpoint_folder, rank, epoch))
        history = [{k: v for k, v in one.items() if k != "seconds"} for one in payload.pop("history")]
        for times in ("steps", "local_samples"):
            payload.pop(times)
        wire_bytes = steady_bytes([wire for wire, _ in payload.pop("bytes")])
        found[f"rank{rank}"] = {**payload, "history": history, "bytes": wire_bytes}
    return found


def steady_bytes(steps: list[int]) -> list[int]:
    """Return the bytes of each step without those of a resumed process's first one, the ranks' agreement on settings.

    The job's very first step has the agreement and the first scales.
    """
    steady = min(steps)
    assert set(steps[1:]) <= {steady, steady + AGREEMENT_BYTES}
    return [steps[0], *(steady for _ in steps[1:])]


def equal(one: Any, other: Any) -> bool:
    """Whether two nested states are the same, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


SIGKILL, SIGSTOP, SIGCONT = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
