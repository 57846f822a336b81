"""Tiny real runs of the study in its pool of processes: rows, divergence, going on after a break."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from pipelines.config import load_section
from pipelines.data import AugmentConfig, PrepareConfig, load_prepared
from pipelines.data.corruptions import SEVERITIES
from pipelines.data.preparation import prepare
from pipelines.errors import UserError
from pipelines.evaluation import EvaluateConfig
from pipelines.experiments.study.config import StudyDataConfig
from pipelines.experiments.study.job import StudyJob
from pipelines.experiments.study.runs.ablation import ablate, chosen_variants, variant_training
from pipelines.experiments.study.runs.compare import choose, compare
from pipelines.experiments.study.runs.curves import trace_curves
from pipelines.experiments.study.runs.outcome import train_all
from pipelines.experiments.study.runs.timing import time_models
from pipelines.experiments.study.runs.worker import RECORD, Trained, train_run
from pipelines.experiments.study.variants import NAMES, REFERENCE, variants_of
from pipelines.models import count_parameters
from pipelines.results import Row, read_json
from tests.configs import make_densenet, make_recipe
from tests.imports import ROOT

MODEL = "densenet10"
DIVERGING = 1e20  # the first step leaves weights whose squares are infinite in float32
CONFIG = StudyDataConfig(
    source=None,
    train_limit=120,
    test_limit=40,
    image_size=None,
    epochs=2,
    augment=AugmentConfig(crop_padding=0, flip=False, cutout=0),
    models=(MODEL,),
    learning_rates=(0.05, DIVERGING),
    tuning_epochs=None,
    seeds=(1, 2),
    corruptions=("contrast",),
    corruption_limit=30,
    curve_models=(MODEL,),
    curve_rates=(0.05, DIVERGING),
    ablated_model=MODEL,
    ablated_variants=None,
)
COMMON = {
    *("experiment", "data", "model", "seed", "learning_rate", "epochs", "batch_size", "num_train_images"),
    *("schedule", "num_parameters", "num_multiply_adds", "train_seconds", "threads", "data_checksum"),
    *("diverged", "reason", "commit", "device", "torch_version"),
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> StudyJob:
    folder = tmp_path_factory.mktemp("study")
    config = load_section(PrepareConfig, "prepare", ROOT / "params.yaml")
    config = dataclasses.replace(config, train_limit=CONFIG.train_limit, test_limit=CONFIG.test_limit)
    prepare(config, folder / "data", folder / "samples.png")
    evaluate = load_section(EvaluateConfig, "evaluate", ROOT / "params.yaml")
    return StudyJob(
        data="digits",
        config=CONFIG,
        prepare=config,
        recipe=make_recipe(warmup_epochs=0.0),
        densenet=make_densenet(growth_rate=4),
        evaluate=dataclasses.replace(evaluate, bootstrap_samples=20, latency_repeats=1),
        data_folder=folder / "data",
        checkpoints=folder / "checkpoints",
        results=folder / "results",
    )


@pytest.fixture
def trains_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train one after the other in this process: others take seconds to start, and `compared` has real ones."""

    def here(function: Callable[[Any], Any], items: Sequence[Any], **_: Any) -> list[Any]:
        return [function(item) for item in items]

    monkeypatch.setattr("pipelines.experiments.study.runs.outcome.run_all", here)


@pytest.fixture(scope="module")
def compared(job: StudyJob) -> list[Row]:
    rows = compare(job, MODEL)
    assert read_json(job.results / f"compare-digits-{MODEL}.json") == rows
    return rows


def test_the_rates_are_judged_without_the_test_part(compared: list[Row]) -> None:
    tuning = [row for row in compared if row["experiment"] == "tuning"]
    assert [(row["learning_rate"], row["chosen"]) for row in tuning] == [(0.05, True), (DIVERGING, False)]
    assert all(set(row) >= COMMON for row in tuning)
    assert not [key for row in tuning for key in row if key.startswith(("test", "auc", "calibration"))]


@pytest.mark.usefixtures("trains_here")
def test_shortened_tuning_trains_every_seed_anew(job: StudyJob, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, tuning_epochs=1, seeds=(1,), corruptions=())
    short = dataclasses.replace(job, config=config, checkpoints=tmp_path / "checkpoints", results=tmp_path)
    rows = compare(short, MODEL)
    tried = [(row["experiment"], row["epochs"], row["learning_rate"]) for row in rows]
    assert tried == [("tuning", 1, 0.05), ("tuning", 1, DIVERGING), ("comparison", CONFIG.epochs, 0.05)]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_diverged_run_is_a_row(compared: list[Row]) -> None:
    row = compared[1]
    assert (row["diverged"], row["best_validation_accuracy"], row["train_seconds"]) == (True, None, None)
    assert "the loss became" in row["reason"]
    trained = [row for row in compared if row["experiment"] != "corruption"]
    assert [row["diverged"] for row in trained] == [False, True, False, False]


def test_every_seed_is_tested_at_the_chosen_rate(compared: list[Row], job: StudyJob) -> None:
    seeds = [row for row in compared if row["experiment"] == "comparison"]
    assert [(row["seed"], row["learning_rate"]) for row in seeds] == [(1, 0.05), (2, 0.05)]
    for row in seeds:
        assert set(row) >= COMMON
        assert row["num_train_images"] == len(load_prepared(job.data_folder).train)
        # A step keeps at least its gradients and the momentum, 4 bytes a parameter each.
        assert row["peak_memory_bytes"] > 8 * row["num_parameters"]
        assert row["test_accuracy_low"] <= row["test_accuracy"] <= row["test_accuracy_high"]
        assert row["auc_micro_low"] <= row["auc_micro"] <= row["auc_micro_high"]


def test_every_seed_is_tested_on_shifted_images(compared: list[Row]) -> None:
    rows = [row for row in compared if row["experiment"] == "corruption"]
    assert [(row["seed"], row["corruption"], row["severity"]) for row in rows] == [
        (seed, "contrast", severity) for seed in (1, 2) for severity in SEVERITIES
    ]
    assert all(set(row) >= COMMON and row["num_test"] == CONFIG.corruption_limit for row in rows)
    correct = [row["test_accuracy"] * row["num_test"] for row in rows]
    assert correct == pytest.approx([round(number) for number in correct])


def test_the_probabilities_are_those_of_the_rows(compared: list[Row], job: StudyJob) -> None:
    with np.load(job.results / f"probabilities-digits-{MODEL}.npz") as arrays:
        labels, seeds, probabilities = (arrays[key] for key in ("labels", "seeds", "probabilities"))
    assert seeds.tolist() == [1, 2]
    accuracies = (probabilities.argmax(axis=2) == labels).mean(axis=1)
    assert accuracies.tolist() == pytest.approx(
        [row["test_accuracy"] for row in compared if row["experiment"] == "comparison"]
    )


def test_a_finished_stage_leaves_no_run(compared: list[Row], job: StudyJob) -> None:
    assert compared
    assert list(job.checkpoints.iterdir()) == []


@pytest.mark.usefixtures("trains_here")
def test_curves_have_a_row_an_epoch_and_mark_the_drops(job: StudyJob) -> None:
    rows = trace_curves(job, MODEL)
    assert read_json(job.results / f"curves-digits-{MODEL}.json") == rows
    whole = [row for row in rows if row["learning_rate"] == 0.05]
    # Milestones at 0.5 and 0.75 of 2 epochs: both fall into the second.
    assert [(row["epoch"], row["dropped"]) for row in whole] == [(1, False), (2, True)]
    assert whole[1]["learning_rate_now"] == pytest.approx(0.05 * 0.1**2)
    assert {row["schedule"] for row in rows} == {"step"}
    (broken,) = [row for row in rows if row["learning_rate"] == DIVERGING]
    assert (broken["epoch"], broken["diverged"], broken["train_loss"]) == (1, True, None)


def test_variants_change_the_size_as_they_say(job: StudyJob) -> None:
    data = load_prepared(job.data_folder)
    sizes = {
        name: count_parameters(variant_training(job, MODEL, variant, seed=1).build(data))
        for name, variant in variants_of(job.densenet).items()
    }
    same = {"discard_layer_25", "discard_group_25", "discard_layer_50", "other_memory"}
    smaller = {"half_growth", "narrow_bottleneck", "half_initial", "both"}
    assert {name for name in sizes if sizes[name] == sizes[REFERENCE]} == {REFERENCE, *same}
    assert {name for name in sizes if sizes[name] < sizes[REFERENCE]} >= smaller
    assert sizes["no_compression"] > sizes[REFERENCE]
    assert sizes["plain"] > sizes["no_bottleneck"]


def test_the_section_names_the_variants_to_train(job: StudyJob) -> None:
    assert tuple(variants_of(job.densenet)) == tuple(chosen_variants(job)) == NAMES
    config = dataclasses.replace(job.config, ablated_variants=("both", "half_growth"))
    chosen = chosen_variants(dataclasses.replace(job, config=config))
    assert list(chosen) == [REFERENCE, "half_growth", "both"]


@pytest.mark.parametrize("changes", [{}, {"initial_width": 10}, {"bottleneck": False}])
def test_only_the_variant_of_the_first_convolution_changes_it(job: StudyJob, changes: dict[str, Any]) -> None:
    model = MODEL if changes.get("bottleneck", True) else "densenet7"
    changed = dataclasses.replace(job, densenet=dataclasses.replace(job.densenet, **changes))
    data = load_prepared(job.data_folder)
    widths = {}
    for name, variant in variants_of(changed.densenet).items():
        stem = variant_training(changed, model, variant, seed=1).build(data).stem
        assert isinstance(stem, nn.Conv2d)
        widths[name] = stem.out_channels
    reference = widths.pop(REFERENCE)
    assert widths.pop("half_initial") == reference // 2
    assert set(widths.values()) == {reference}


def test_a_variant_without_bottleneck_keeps_the_layers(job: StudyJob) -> None:
    variant = variants_of(job.densenet)["no_bottleneck"]
    training = variant_training(job, "densenet50", variant, seed=1)
    # DenseNet-50 of BC has blocks of 7, 8 and 8 layers; one convolution each makes 23 + 4.
    assert (training.model, training.densenet.blocks) == ("densenet27", {"27": (7, 8, 8)})


@pytest.mark.usefixtures("trains_here")
def test_variants_are_trained_tested_and_weighed(job: StudyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: variants_of(job.densenet)[name] for name in (REFERENCE, "discard_layer_50", "plain")}
    monkeypatch.setattr("pipelines.experiments.study.runs.ablation.variants_of", lambda _: few)
    held = np.ones(2**26)  # 512 MiB of this process, which are none of a training step's
    rows = ablate(job)
    assert read_json(job.results / "ablation-digits.json") == rows
    assert [(row["variant"], row["seed"]) for row in rows] == [
        (name, seed) for name in few for seed in (1, 2)
    ]
    for row in rows:
        assert set(row) >= COMMON
        assert row["model"] == MODEL
        assert row["test_accuracy_low"] <= row["test_accuracy"] <= row["test_accuracy_high"]
        assert row["step_seconds_median"] > 0
        # A step keeps at least its gradients and the momentum, 4 bytes a parameter each.
        assert 8 * row["num_parameters"] < row["peak_memory_bytes"] < held.nbytes / 2
    assert {row["step_over_reference"] for row in rows if row["variant"] == REFERENCE} == {1.0}
    assert len({row["step_over_reference"] for row in rows}) == 3
    assert {row["variant"] for row in rows if row["train_multiply_adds"] < row["num_multiply_adds"]} == {
        "discard_layer_50"
    }


def test_the_models_steps_are_timed_in_turns(job: StudyJob) -> None:
    deeper = dataclasses.replace(job.config, models=(MODEL, "densenet22"))
    rows = time_models(dataclasses.replace(job, config=deeper))
    assert read_json(job.results / "steps-digits.json") == rows
    assert [(row["model"], row["batch_size"]) for row in rows] == [
        (model, job.recipe.batch_size) for model in deeper.models
    ]
    assert rows[0]["step_over_reference"] == 1 < rows[1]["step_over_reference"]
    assert all({"commit", "device", "step_threads"} < set(row) for row in rows)


def test_no_models_have_no_steps(job: StudyJob) -> None:
    assert time_models(dataclasses.replace(job, config=dataclasses.replace(job.config, models=()))) == []


def test_no_ablated_model_gives_no_rows(job: StudyJob) -> None:
    assert ablate(dataclasses.replace(job, config=dataclasses.replace(job.config, ablated_model=None))) == []


def test_a_finished_run_is_not_trained_again(job: StudyJob, tmp_path: Path) -> None:
    training = dataclasses.replace(job.training(MODEL, seed=1, learning_rate=0.05), checkpoints=tmp_path)
    first = train_run(training)
    assert train_run(training) == first
    other = train_run(dataclasses.replace(training, recipe=dataclasses.replace(training.recipe, seed=2)))
    assert other.folder != first.folder
    (first.folder / RECORD).unlink()
    again = train_run(training)
    assert again.summary["train_seconds"] != first.summary["train_seconds"]
    assert again.summary["best_validation_loss"] == first.summary["best_validation_loss"]


def test_an_error_of_a_run_ends_the_pool(job: StudyJob) -> None:
    too_large = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, batch_size=4096))
    with pytest.raises(UserError, match=r"recipe\.batch_size: 4096 is not allowed"):
        train_all([too_large.training(MODEL, seed=seed) for seed in (1, 2)], "test")


def tried(rate: float, accuracy: float | None, loss: float | None) -> Trained:
    summary = {
        "model": MODEL,
        "data": "digits",
        "learning_rate": rate,
        "best_validation_accuracy": accuracy,
        "best_validation_loss": loss,
        "diverged": accuracy is None,
    }
    return Trained(summary=summary, history=[], folder=Path("unused"))


def test_the_choice_is_by_accuracy_then_by_loss() -> None:
    assert choose([tried(0.1, 0.9, 0.1), tried(0.2, 0.95, 0.9), tried(0.3, None, None)]) == 1
    assert choose([tried(0.1, 0.9, 0.2), tried(0.2, 0.9, 0.1), tried(0.3, 0.9, None)]) == 1


def test_divergence_at_every_rate_is_an_error() -> None:
    with pytest.raises(UserError, match=r"study\.digits\.learning_rates: \[1\.0, 2\.0\] is not allowed"):
        choose([tried(1.0, None, None), tried(2.0, None, None)])
