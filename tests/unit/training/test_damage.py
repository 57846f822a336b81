"""Training goes on from the last whole checkpoint, bit for bit, and says what it passed over."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.training import load_checkpoint
from tests.configs import make_recipe
from tests.damage import DAMAGES
from tests.imports import ROOT
from tests.soak import times
from tests.unit.training.conftest import AUGMENT, make_data, make_model
from tests.unit.training.test_loop import run, states_equal, without_time

NAMES = ("best.pt", "last.pt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a training that nothing disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    result, _ = run(make_model(), make_data(), make_recipe(augment=AUGMENT), folder)
    return result, folder


def interrupted(model, data, recipe, folder, after=3):
    with pytest.raises(KeyboardInterrupt):
        run(model(), data, recipe(), folder, interrupt_after=after)
    return folder


def check_resumed(whole, resumed, folder):
    undisturbed, its_folder = whole
    assert without_time(resumed.history) == without_time(undisturbed.history)
    assert all(states_equal(its_folder / name, folder / name) for name in NAMES)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_checkpoint_is_named_and_passed_over(
    model, data, recipe, tmp_path, whole, damage, capsys
):
    folder = interrupted(model, data, recipe, tmp_path / "parts")
    assert [load_checkpoint(folder / name).epoch for name in ("last.pt", "previous.pt")] == [3, 2]
    damage(folder / "last.pt")
    capsys.readouterr()
    resumed, tracker = run(model(), data, recipe(), folder)
    assert [step for step, _ in tracker.metrics] == [3, 4]
    check_resumed(whole, resumed, folder)
    error = capsys.readouterr().err
    assert f"warning: {folder / 'last.pt'}: " in error
    assert f"the training in {folder} goes on from {folder / 'previous.pt'} instead\n" in error
    assert not (folder / "executed").exists()


def test_training_starts_anew_where_no_checkpoint_is_whole(model, data, recipe, tmp_path, whole, capsys):
    folder = interrupted(model, data, recipe, tmp_path / "parts")
    for name in ("last.pt", "previous.pt"):
        DAMAGES[0](folder / name)
    resumed, tracker = run(model(), data, recipe(), folder)
    assert [step for step, _ in tracker.metrics] == [1, 2, 3, 4]
    check_resumed(whole, resumed, folder)
    assert f"the training in {folder} starts anew: no whole checkpoint is left" in capsys.readouterr().err


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("damage", [DAMAGES[0], Path.unlink])
def test_a_lost_best_checkpoint_does_not_lose_the_result(
    model, data, recipe, tmp_path, whole, damage, after, capsys
):
    folder = interrupted(model, data, recipe, tmp_path / "parts", after)
    last = load_checkpoint(folder / "last.pt")
    damage(folder / "best.pt")
    resumed, tracker = run(model(), data, recipe(), folder)
    rebuilt = last.best_epoch == last.epoch
    assert tracker.metrics[0][0] == (after + 1 if rebuilt else 1)
    assert ("starts anew: its best epoch is lost" in capsys.readouterr().err) != rebuilt
    check_resumed(whole, resumed, folder)


def test_random_kills_lose_nothing(tmp_path, tried):
    """A training is killed again and again, at random moments; then it ends as if nothing had happened."""
    kills = times(6, 60)
    tried("kills of a training", kills)
    command = [sys.executable, "-m", "tests.unit.training.run_kills", str(tmp_path), str(kills)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout.strip())
    assert f"{kills} kills" in done.stdout
