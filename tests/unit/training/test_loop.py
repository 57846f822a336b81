import dataclasses
import os
from pathlib import Path

import pytest
import torch

from pipelines.data import Batches
from pipelines.errors import UserError
from pipelines.models import spec_of
from pipelines.training import (
    load_checkpoint,
    loss_and_accuracy,
    mark_finished,
    predict_logits,
    rebuild_model,
    train,
)
from pipelines.training import loop as training_loop
from tests.unit.training.conftest import RecordingTracker


def run(model, data, recipe, folder, interrupt_after=None):
    tracker = RecordingTracker(interrupt_after)
    return train(model, data, recipe, folder=folder, tracker=tracker, description="test"), tracker


def without_time(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def states_equal(first: Path, second: Path) -> bool:
    one, other = load_checkpoint(first).model_state, load_checkpoint(second).model_state
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_learns_and_reports_every_epoch(model, data, recipe, tmp_path):
    result, tracker = run(model(), data, recipe(epochs=8), tmp_path)
    assert [row["epoch"] for row in result.history] == list(range(1, 9))
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert result.best_row["validation_accuracy"] > 0.8
    assert [step for step, _ in tracker.metrics] == list(range(1, 9))
    assert tracker.metrics[2][1]["validation_loss"] == result.history[2]["validation_loss"]
    assert result.train_seconds == sum(row["seconds"] for row in result.history)


def test_best_checkpoint_is_the_best_epoch_on_validation(model, data, recipe, tmp_path):
    result, _ = run(model(), data, recipe(), tmp_path)
    best = load_checkpoint(result.best_checkpoint)
    ranks = [(row["validation_accuracy"], -row["validation_loss"]) for row in result.history]
    assert best.epoch == result.best_epoch == 1 + ranks.index(max(ranks))
    logits = predict_logits(
        rebuild_model(best), data.validation, data, batch_size=64, device=torch.device("cpu")
    )
    row = result.best_row
    assert loss_and_accuracy(logits, data.validation.labels) == (
        row["validation_loss"],
        row["validation_accuracy"],
    )


def test_same_seed_gives_identical_metrics_and_weights(model, data, recipe, tmp_path):
    first, _ = run(model(), data, recipe(), tmp_path / "first")
    torch.manual_seed(99)  # the global state must not matter
    second, _ = run(model(), data, recipe(), tmp_path / "second")
    assert without_time(first.history) == without_time(second.history)
    assert states_equal(tmp_path / "first" / "last.pt", tmp_path / "second" / "last.pt")
    other, _ = run(model(), data, recipe(seed=4), tmp_path / "other")
    assert without_time(first.history) != without_time(other.history)


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_resume_is_exact_after_any_epoch(model, data, recipe, tmp_path, interrupted_after):
    whole, _ = run(model(), data, recipe(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(model(), data, recipe(), tmp_path / "parts", interrupt_after=interrupted_after)
    resumed, tracker = run(model(), data, recipe(), tmp_path / "parts")
    assert [step for step, _ in tracker.metrics] == list(range(interrupted_after + 1, 5))
    assert without_time(resumed.history) == without_time(whole.history)
    assert resumed.best_epoch == whole.best_epoch
    for name in ("best.pt", "last.pt"):
        assert states_equal(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_a_checkpoint_that_was_read_to_learn_of_it_is_not_read_again(
    model, data, recipe, tmp_path, monkeypatch
):
    whole, _ = run(model(), data, recipe(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(model(), data, recipe(), tmp_path / "parts", interrupt_after=2)
    found = training_loop.unfinished_checkpoint(tmp_path / "parts", spec_of(model()), recipe(), data)
    monkeypatch.setattr(training_loop, "load_resumable", lambda _: pytest.fail("read again"))
    tracker = RecordingTracker()
    resumed = train(
        model(),
        data,
        recipe(),
        folder=tmp_path / "parts",
        tracker=tracker,
        description="test",
        unfinished=found,
    )
    assert [step for step, _ in tracker.metrics] == [3, 4]
    assert without_time(resumed.history) == without_time(whole.history)


def test_interrupt_within_an_epoch_loses_that_epoch_only(model, data, recipe, tmp_path, monkeypatch):
    whole, _ = run(model(), data, recipe(), tmp_path / "whole")
    original = Batches.__iter__

    def interrupted(self):
        for index, batch in enumerate(original(self)):
            if self._epoch == 2 and self.augment is not None and index == 3:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__iter__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(model(), data, recipe(), tmp_path / "parts")
    resumed, tracker = run(model(), data, recipe(), tmp_path / "parts")
    assert [step for step, _ in tracker.metrics] == [3, 4]
    assert without_time(resumed.history) == without_time(whole.history)
    assert states_equal(tmp_path / "whole" / "last.pt", tmp_path / "parts" / "last.pt")


@pytest.mark.parametrize("changed", ["recipe", "data", "model", "finished"])
def test_starts_anew_where_the_checkpoint_is_of_another_run(model, data, recipe, tmp_path, changed):
    with pytest.raises(KeyboardInterrupt):
        run(model(), data, recipe(), tmp_path, interrupt_after=2)
    settings, name = recipe(), "densenet10"
    if changed == "recipe":
        settings = recipe(learning_rate=0.05)
    elif changed == "data":
        data = dataclasses.replace(data, checksum="4567")
    elif changed == "model":
        name = "densenet16"
    else:
        mark_finished(tmp_path)
    _, tracker = run(model(name), data, settings, tmp_path)
    assert [step for step, _ in tracker.metrics] == [1, 2, 3, 4]


def test_kill_while_writing_leaves_the_old_checkpoint(model, data, recipe, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(model(), data, recipe(), tmp_path, interrupt_after=1)

    def killed(content, path):
        Path(path).write_bytes(b"half a checkpoint")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            run(model(), data, recipe(), tmp_path)
    assert [load_checkpoint(tmp_path / name).epoch for name in ("best.pt", "last.pt")] == [1, 1]
    result, _ = run(model(), data, recipe(), tmp_path)
    assert len(result.history) == 4
    assert sorted(os.listdir(tmp_path)) == ["best.pt", "last.pt", "previous.pt"]
    mark_finished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["best.pt", "last.pt"]


def test_non_finite_loss_stops_with_the_key_to_change(model, data, recipe, tmp_path):
    with pytest.raises(UserError) as caught:
        run(model(), data, recipe(learning_rate=1e20, warmup_epochs=0.0), tmp_path)
    message = str(caught.value)
    assert message.startswith("training densenet10: the loss became ")
    assert "in epoch 1; lower recipe.learning_rate (1e+20)" in message
    assert "\n" not in message
    assert not (tmp_path / "last.pt").exists()


def test_batch_larger_than_the_training_part(model, data, recipe, tmp_path):
    with pytest.raises(UserError, match=r"recipe\.batch_size: 101 is not allowed; allowed: at most 100"):
        run(model(), data, recipe(batch_size=101), tmp_path)


def test_damaged_or_missing_checkpoint(tmp_path):
    path = tmp_path / "best.pt"
    with pytest.raises(UserError, match=r"best\.pt: cannot be read \(No such file"):
        load_checkpoint(path)
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(UserError, match=r"best\.pt: is damaged: it has 14 bytes"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "options",
    [{"precision": "bfloat16"}, {"memory_format": "channels_last"}, {"schedule": "cosine"}],
)
def test_options_train(model, data, recipe, tmp_path, options):
    result, _ = run(model(), data, recipe(epochs=8, **options), tmp_path)
    assert result.best_row["validation_accuracy"] > 0.8


def test_global_random_state_is_left_alone(model, data, recipe, tmp_path):
    network = model()
    before = torch.random.get_rng_state()
    run(network, data, recipe(epochs=2), tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
