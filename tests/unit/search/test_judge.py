"""The fitness of a network is what the suite's own training gives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.data.prepared import PreparedData, Split, checksum_of, save_prepared
from pipelines.data.split import limit
from pipelines.models import build_model_for, count_multiply_adds
from pipelines.search.judge import Candidate, judge
from pipelines.tracking import NullTracker
from pipelines.training import predict_logits, train
from tests.configs import make_densenet, make_recipe
from tests.unit.search.algorithms import make_config
from tests.unit.training.conftest import make_data

MODEL = "chain_c3m8s1_p2s2max_f16"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    data = make_data()
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return replace(data, checksum=checksum_of(parts, data.class_names))


@pytest.fixture(scope="module")
def folder(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    save_prepared(data, folder, {})
    return folder


def candidate(folder: Path, model: str = MODEL, **changes: Any) -> Candidate:
    return Candidate(
        model=model,
        data_folder=folder,
        data_checksum="sum",
        recipe=make_recipe(epochs=10),
        densenet=make_densenet(),
        config=make_config(**changes),
    )


def by_hand(data: PreparedData, folder: Path, num_images: int, **recipe: Any) -> tuple[float, float]:
    """Train on the part by the suite's loop; return the accuracy and its deviation over tenths."""
    settings = make_recipe(epochs=10).over(recipe["epochs"])
    settings = replace(settings, schedule="step", **{"milestones": (), **recipe})
    kept = torch.from_numpy(
        limit(data.train.labels.numpy(), num_images, np.random.default_rng(settings.seed), "")
    )
    part = replace(data, train=Split(data.train.images[kept], data.train.labels[kept]))
    model = build_model_for(part, MODEL, make_densenet(), settings.seed)
    train(model, part, settings, folder=folder, tracker=NullTracker(), description="by hand")
    logits = predict_logits(model, data.validation, data, batch_size=64, device="cpu")
    right = (logits.argmax(1) == data.validation.labels).double().numpy()
    return float(right.mean()), float(np.std([part.mean() for part in np.array_split(right, 10)]))


def test_one_rate_trains_at_it(data: PreparedData, folder: Path, tmp_path: Path) -> None:
    fitness = judge(candidate(folder, epochs=2))
    wanted = by_hand(data, tmp_path, 40, epochs=2, learning_rate=0.05)
    assert (fitness.accuracy, fitness.deviation) == pytest.approx(wanted, abs=1e-12)
    model = build_model_for(data, MODEL, make_densenet(), 1)
    assert fitness.multiply_adds == count_multiply_adds(
        model, (data.num_channels, data.image_size, data.image_size)
    )
    assert fitness.reason is None


def test_of_several_rates_the_best_after_an_epoch_trains_and_is_lowered(
    data: PreparedData, folder: Path, tmp_path: Path
) -> None:
    rates = (0.2, 1e-6)
    tried = {rate: by_hand(data, tmp_path / str(rate), 40, epochs=1, learning_rate=rate)[0] for rate in rates}
    best = max(tried, key=tried.__getitem__)
    assert min(tried.values()) < max(tried.values())
    wanted = by_hand(data, tmp_path / "best", 40, epochs=4, learning_rate=best, milestones=(0.5, 0.75))
    fitness = judge(candidate(folder, epochs=4, rates=rates))
    assert (fitness.accuracy, fitness.deviation) == pytest.approx(wanted, abs=1e-12)


def test_a_training_that_diverges_is_worth_nothing_unless_another_rate_does_not(folder: Path) -> None:
    fitness = judge(candidate(folder, epochs=2, rates=(1e20,)))
    assert (fitness.accuracy, fitness.deviation) == (0.0, 0.0)
    assert fitness.reason is not None
    assert "training chain_c3m8s1_p2s2max_f16" in fitness.reason
    both = judge(candidate(folder, epochs=2, rates=(1e20, 3e19)))
    assert both.reason == f"training {MODEL} diverged at each of [1e+20, 3e+19]"
    assert judge(candidate(folder, rates=(1e20, 0.05))).accuracy > 0


def test_a_network_that_is_too_large_is_not_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.search.judge.train", None)
    fitness = judge(candidate(folder, most_multiply_adds=100))
    assert fitness.accuracy == 0.0
    assert fitness.reason == f"{fitness.multiply_adds} multiply-adds are more than 100"


def test_the_key_holds_all_that_determines_the_fitness(folder: Path) -> None:
    one = candidate(folder)
    others = [
        candidate(folder, "chain_c3m8s1"),
        candidate(folder, epochs=2),
        candidate(folder, train_images=30),
        candidate(folder, rates=(0.1,)),
        candidate(folder, most_multiply_adds=9),
        replace(one, data_checksum="other"),
        replace(one, recipe=make_recipe(seed=4)),
    ]
    assert len({one.key, *(other.key for other in others)}) == 1 + len(others)
    assert candidate(folder, evaluations=5, population=9, seconds=1.0).key == one.key
