"""LDCE's variants: the noise they see, the labels they judge, and what two workers are told to train."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.config import load_section
from pipelines.data import PrepareConfig, load_prepared
from pipelines.data.label_noise import is_wrong
from pipelines.data.preparation import prepare
from pipelines.experiments.related.job import RelatedJob, VariantTraining, load_job
from pipelines.experiments.related.label_judges import JUDGES, folds_of, held_out
from pipelines.experiments.related.runs import workers
from pipelines.experiments.related.runs.trials import Trial
from pipelines.experiments.related.systems.ldce import Ldce, largest_losses
from pipelines.experiments.study.runs.worker import Trained, train_run
from pipelines.training import StepFacts, predict_features, predict_logits
from tests.unit.experiments.related.fake import PARAMS, SET

CPU = torch.device("cpu")
NOISE = "pair45"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> RelatedJob:
    """LDCE for one epoch on 200 digits, with one noise."""
    folder = tmp_path_factory.mktemp("ldce")
    config = load_section(PrepareConfig, "prepare", PARAMS)
    config = dataclasses.replace(config, train_limit=200, test_limit=40)
    prepare(config, folder / "data", folder / "samples.png")
    loaded = load_job("ldce", "digits", PARAMS)
    options = dataclasses.replace(loaded.system.options, noises={"pair": (45,)}, epochs=2.0)
    return dataclasses.replace(
        loaded,
        system=Ldce("ldce", options),
        config=SET,
        recipe=dataclasses.replace(loaded.recipe, batch_size=16, warmup_epochs=0.0),
        data_folder=folder / "data",
        checkpoints=folder / "checkpoints",
    )


@pytest.fixture(scope="module")
def folds(job: RelatedJob) -> Trial:
    """The networks of the folds, trained."""
    training = job.training(job.system.variant(f"folds_{NOISE}"), seed=1, learning_rate=0.1)
    return Trial(training=training, trained=train_run(training))


def after(job: RelatedJob, folds: Trial, name: str) -> VariantTraining:
    return job.training(
        job.system.variant(f"{name}_{NOISE}"),
        seed=1,
        learning_rate=0.1,
        source=folds.training,
        source_folder=folds.trained.folder,
    )


def test_all_variants_of_a_seed_see_the_same_noise_and_clean_labels_elsewhere(job: RelatedJob) -> None:
    prepared = load_prepared(job.data_folder)
    seen = [
        job.training(variant, seed=seed, learning_rate=0.1).inputs(prepared)
        for seed in (1, 2)
        for variant in job.system.variants()
    ]
    number = len(job.system.variants())
    for data in seen:
        assert torch.equal(data.train.true_labels, prepared.train.labels)
        assert torch.equal(data.validation.labels, prepared.validation.labels)
        assert torch.equal(data.test.labels, prepared.test.labels)
    assert len({data.checksum for data in seen[:number]}) == 1
    assert seen[0].checksum != seen[number].checksum  # another seed, other wrong labels


def test_an_image_is_judged_by_the_member_that_has_not_seen_it(job: RelatedJob, folds: Trial) -> None:
    data = folds.training.inputs(load_prepared(job.data_folder))
    members = folds.training.deliver(folds.trained.folder)
    fold = folds_of(data, 1, 3)
    assert np.ptp(np.bincount(fold)) <= 1
    predictions, features = held_out(members, data, fold)
    for image in (0, 1, 7, 50):
        member = members.members[fold[image]]
        read, logits = predict_features(member, data.train, data, batch_size=64)
        # Another batch size sums in another order.
        assert predictions[image] == pytest.approx(logits[image].double().softmax(0).numpy(), abs=1e-5)
        assert features[image] == pytest.approx(read[image].numpy(), abs=1e-4)
        own = member.classifier(read[image])
        assert torch.allclose(own, logits[image], atol=1e-4)


@pytest.mark.parametrize("judge", JUDGES)
def test_labels_called_wrong_are_left_out_or_replaced(job: RelatedJob, folds: Trial, judge: str) -> None:
    training = after(job, folds, judge)
    data = training.inputs(load_prepared(job.data_folder))
    context = training.context(data)
    objective = training.objective(data)
    row = job.system.extra(training.declared, training.build(data), training.build(data), context)
    labels = torch.nn.functional.one_hot(data.train.labels, 10).float()
    assert torch.allclose(objective.targets.sum(1), torch.ones(len(labels)), atol=1e-6)
    if judge == "ldce":
        called = objective.weights < 1
        assert float(objective.weights.min()) > 0.1  # the largest of ten probabilities
    else:
        called = objective.weights == 0
        assert torch.equal(objective.targets, labels)
    assert torch.equal(objective.targets[~called], labels[~called])
    wrong = is_wrong(data.train)
    assert 0 < int(called.sum()) < len(called)
    assert row["noise_precision"] == pytest.approx(float(wrong[called].float().mean()))
    assert row["noise_recall"] == pytest.approx(float(called[wrong].float().mean()))


def test_the_largest_losses_are_as_many_as_asked_for(job: RelatedJob, folds: Trial) -> None:
    data = folds.training.inputs(load_prepared(job.data_folder))
    network = folds.training.deliver(folds.trained.folder)
    found = largest_losses(network, data, 0.45)
    assert found.sum() == round(0.45 * len(data.train))
    logits = predict_logits(network, data.train, data, batch_size=64)
    own = -logits.log_softmax(1)[torch.arange(len(found)), data.train.labels]
    assert float(own[found].min()) >= float(own[~found].max()) - 1e-5


def test_two_workers_rebuild_from_the_plan_what_one_process_trains(job: RelatedJob, folds: Trial) -> None:
    training = after(job, folds, "ldce")
    trial = Trial(training=training, trained=Trained(summary={}, history=[], folder=Path("unused")))
    rebuilt = workers._training_of(job, workers._entry(trial))
    first, second = (workers._job_of(job, one) for one in (training, rebuilt))
    data = first.load_data()
    assert int(is_wrong(data.train).sum()) > 0
    assert second.load_data().checksum == data.checksum
    assert workers._stamp(first) == workers._stamp(second)
    objectives = [one.objective(data) for one in (first, second)]
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    facts = StepFacts(indices=torch.arange(8), epoch=0)
    losses = [one(logits, data.train.labels[:8], torch.empty(8, 0), facts) for one in objectives]
    assert torch.equal(*losses)
    for one, other in zip(
        first.build_model(data).parameters(), second.build_model(data).parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_one_noise_is_trained_on_two_workers(job: RelatedJob) -> None:
    system = load_job("ldce", "digits", PARAMS).system
    trained = [one for one in system.variants() if one.trains_on_workers]
    assert {one.name.partition("_")[0] for one in trained} == {"plain", "ldce"}
    assert len({one.name.rpartition("_")[2] for one in trained}) == 1
