"""Kill a training at random moments and compare its end with that of one that was left alone.

Started by test_damage.py with a folder and the number of kills. Each training is a fork, so that it begins at once.
"""

import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from pipelines.training import load_checkpoint, train
from tests.configs import make_recipe
from tests.unit.training.conftest import RecordingTracker, make_data, make_model
from tests.unit.training.test_loop import states_equal, without_time

EPOCHS = 20


def run(folder: Path) -> None:
    recipe = make_recipe(epochs=EPOCHS)
    train(make_model(), make_data(), recipe, folder=folder, tracker=RecordingTracker(), description="kills")


def start(folder: Path) -> int:
    """Run the training in a fork; return its process id."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the progress bar
        run(folder)
        os._exit(0)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_often(folder: Path, kills: int, seconds: float) -> list[int]:
    """Kill the training `kills` times, anew where it is through; return the epochs that were whole after each kill."""
    generator = random.Random(kills)
    epochs = []
    for number in itertools.count():
        if len(epochs) == kills:
            return epochs
        child = start(folder)
        time.sleep(generator.uniform(0.0, 3 * seconds))
        os.kill(child, signal.SIGKILL)
        if status_of(child) != -signal.SIGKILL:  # it was faster
            check(folder, folder.parent / "alone")
            os.rename(folder, folder.with_name(f"through{number}"))
            continue
        last = folder / "last.pt"
        epochs.append(load_checkpoint(last).epoch if last.exists() else 0)
    return epochs


def check(folder: Path, alone: Path) -> None:
    """Raise AssertionError unless both trainings ended alike, bit for bit."""
    for name in ("best.pt", "last.pt"):
        one, other = load_checkpoint(folder / name), load_checkpoint(alone / name)
        assert states_equal(folder / name, alone / name), name
        assert without_time(one.history) == without_time(other.history), name
        assert one.generator_states.keys() == other.generator_states.keys()
        assert all(
            torch.equal(state, other.generator_states[key]) for key, state in one.generator_states.items()
        )


def main() -> None:
    torch.set_num_threads(1)
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    begin = time.monotonic()
    assert status_of(start(folder / "alone")) == 0
    seconds_per_epoch = (time.monotonic() - begin) / EPOCHS
    epochs = kill_often(folder / "killed", kills, seconds_per_epoch)
    assert status_of(start(folder / "killed")) == 0
    check(folder / "killed", folder / "alone")
    print(f"{len(epochs)} kills of a training, after epochs {epochs}: weights and metrics bit-identical")


if __name__ == "__main__":
    main()
