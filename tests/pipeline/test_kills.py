"""`make repro` as a whole is killed at random moments; the same command ends as if nothing had happened.

For `make soak` alone: it takes minutes.
"""

import itertools
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import checkpoints
from tests.pipeline.workspace import Workspace
from tests.soak import Tried

DEPTH = 10
METHODS = ["sdp", "gq4"]
COMMAND = "tools/repro.sh"
KILLS = 10
# In the names of what a clock has measured, and of what a checkout is called.
OTHER = ("second", "commit")


def small(folder: Path) -> Workspace:
    workspace = Workspace(folder)
    workspace.set_params(
        prepare__train_limit=200,
        prepare__test_limit=60,
        train__depths=[DEPTH],
        baseline__models=[],
        densenet__growth_rate=4,
        recipe__epochs=4,
        recipe__batch_size=32,
        distributed__models=[f"densenet{DEPTH}"],
        distributed__methods=METHODS,
        distributed__batch_size=16,
        distributed__epochs=3,
        distributed__warmup_steps=1,
        distributed__local_steps=1,
        evaluate__latency_repeats=2,
        evaluate__bootstrap_samples=20,
        tracking__log_models=False,
    )
    workspace.commit("tiny parameters")
    return workspace


def weights(workspace: Workspace) -> dict[str, dict[str, torch.Tensor]]:
    """Return the final weights of every training, by file."""
    folder = workspace.folder / "checkpoints"
    found = {}
    for path in sorted([*folder.rglob("best.pt"), *folder.rglob("model.pt")]):
        content = checkpoints.load(path)
        found[str(path.relative_to(folder))] = content.get("model_state", content)
    return found


def numbers(workspace: Workspace) -> dict[str, Any]:
    """Return every number of the result files whose name does not speak of time, by file and place."""

    def leaves(value: Any, name: str) -> dict[str, Any]:
        if isinstance(value, dict):
            items = [
                (f"{name}/{key}", item) for key, item in value.items() if not any(t in key for t in OTHER)
            ]
        elif isinstance(value, list):
            items = [(f"{name}/{index}", item) for index, item in enumerate(value)]
        else:
            return {name: value}
        return {place: leaf for key, item in items for place, leaf in leaves(item, key).items()}

    names = ["prepare", f"train/densenet{DEPTH}", "recognition", "distributed"]
    content = {name: json.loads((workspace.folder / f"results/{name}.json").read_text()) for name in names}
    return leaves(content, "")


def check_alike(one: Workspace, other: Workspace) -> None:
    """Both pipelines ended with the same weights, bit for bit, and the same numbers but for times."""
    expected, found = weights(one), weights(other)
    assert len(expected) == 1 + len(METHODS)
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        assert state.keys() == found[name].keys()
        assert all(torch.equal(tensor, found[name][key]) for key, tensor in state.items()), name
    assert numbers(other) == numbers(one)
    assert len(numbers(one)) > 100


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Workspace], float]:
    """Two checkouts whose pipelines have run at the same time, and the seconds that this took."""
    both = [small(tmp_path_factory.mktemp("beside") / name) for name in ("one", "two")]
    begin = time.monotonic()
    running = [workspace.start(COMMAND) for workspace in both]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    return both, time.monotonic() - begin


@pytest.mark.timeout(0)
def test_two_checkouts_at_once_do_not_disturb_each_other(
    beside: tuple[list[Workspace], float], tried: Tried
) -> None:
    tried("two make repro at once in two checkouts", 1)
    check_alike(*beside[0])


def kill_at(workspace: Workspace, seconds: float) -> bool:
    """Start the command and kill its whole process group after `seconds`; return False where it was through before."""
    process = workspace.start(COMMAND)
    time.sleep(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode != 0


@pytest.mark.timeout(0)
def test_a_pipeline_that_is_killed_again_and_again_ends_like_one_that_was_not(
    beside: tuple[list[Workspace], float], tmp_path: Path, tried: Tried
) -> None:
    (alone, _), seconds = beside
    kills = 0
    tried("kills of make repro as a whole", KILLS)
    generator = random.Random(3)
    for number in itertools.count():
        killed = small(tmp_path / str(number))
        # A pipeline that comes through is compared, and the next one is killed.
        while kills < KILLS and kill_at(killed, generator.uniform(0.02, 0.3) * seconds):
            kills += 1
        killed.run(COMMAND)
        check_alike(alone, killed)
        if kills == KILLS:
            break
