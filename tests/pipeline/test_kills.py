"""`make repro` as a whole is killed at random moments; the same command ends as if nothing had happened."""

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
from tests.soak import Tried, times

DEPTH = 10
METHODS = ["sdp", "gq4"]
COMMAND = "tools/repro.sh"
# Names of what is measured with a clock, and of what a run is called: they differ between any two runs.
TIMED = (
    "second",
    "per_second",
    "ratio_low",
    "ratio_high",
    "acceleration",
    "latency",
    "commit",
    "created",
    "share",
)


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
                (f"{name}/{key}", item) for key, item in value.items() if not any(t in key for t in TIMED)
            ]
        elif isinstance(value, list):
            items = [(f"{name}/{index}", item) for index, item in enumerate(value)]
        else:
            return {name: value}
        return {place: leaf for key, item in items for place, leaf in leaves(item, key).items()}

    names = ["prepare", f"train/densenet{DEPTH}", "recognition", "distributed"]
    content = {name: json.loads((workspace.folder / f"results/{name}.json").read_text()) for name in names}
    return leaves(content, "")


def kill_at(workspace: Workspace, seconds: float) -> bool:
    """Start the command and kill its whole process group after `seconds`; tell whether it was still at work."""
    process = workspace.start(COMMAND)
    time.sleep(seconds)
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive and process.returncode == -signal.SIGKILL


@pytest.mark.timeout(0)
def test_a_pipeline_that_is_killed_again_and_again_ends_like_one_that_was_not(
    tmp_path: Path, tried: Tried
) -> None:
    kills = times(1, 10)
    tried("kills of make repro as a whole", kills)
    alone, killed = small(tmp_path / "alone"), small(tmp_path / "killed")
    begin = time.monotonic()
    alone.run(COMMAND)
    whole = time.monotonic() - begin
    generator = random.Random(3)
    # With one kill, in the middle: that is in a training or in a run of two ranks.
    moments = [
        generator.uniform(0.02, 0.6) if kills > 1 else generator.uniform(0.3, 0.6) for _ in range(kills)
    ]
    hit = [kill_at(killed, moment * whole) for moment in moments]
    assert all(hit), "the pipeline was through before it was killed: nothing was tried"
    killed.run(COMMAND)
    expected, found = weights(alone), weights(killed)
    assert len(expected) == 1 + len(METHODS)
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        assert state.keys() == found[name].keys()
        assert all(torch.equal(tensor, found[name][key]) for key, tensor in state.items()), name
    assert numbers(killed) == numbers(alone)
    assert len(numbers(alone)) > 100
