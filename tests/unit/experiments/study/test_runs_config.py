"""The section study: what is not allowed is named in one line."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines.config import load_yaml
from pipelines.errors import UserError
from pipelines.experiments.study.job import load_job
from tests.imports import ROOT


def params_with(folder: Path, key: str, value: Any) -> Path:
    params = load_yaml(ROOT / "params.yaml")
    params["study"]["digits"][key] = value
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(params, file)
    return path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_limit", 0),
        ("epochs", 0),
        ("models", ["densenet50", "densenet50"]),
        ("models", ["lenet"]),
        ("learning_rates", []),
        ("learning_rates", [0.1, -0.1]),
        ("tuning_epochs", 0),
        ("tuning_epochs", 1000),
        ("seeds", []),
        ("seeds", [1, 1]),
        ("curve_rates", []),
        ("ablated_model", "vgg16_bn"),
        ("ablated_variants", ["thinner"]),
    ],
)
def test_a_value_that_is_not_allowed_is_named(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"study\.digits\.{key}: .* is not allowed; allowed: ") as caught:
        load_job("digits", params_with(tmp_path, key, value))
    assert "\n" not in str(caught.value)


def test_an_unknown_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UserError,
        match=r"study\.mnist: this section is missing; sections here: digits, fashion_mnist, cifar10",
    ):
        load_job("mnist", ROOT / "params.yaml")


def test_the_recipe_of_a_run_keeps_what_the_study_does_not_set(tmp_path: Path) -> None:
    job = load_job("digits", params_with(tmp_path, "epochs", 5))
    recipe = job.training("densenet50", seed=7, learning_rate=0.3).recipe
    assert (recipe.epochs, recipe.seed, recipe.learning_rate) == (5, 7, 0.3)
    assert recipe.augment == job.config.augment
    # Half the epochs of the section recipe, hence half its warm-up.
    assert recipe.warmup_epochs == pytest.approx(job.recipe.warmup_epochs / 2)
    unchanged = ("batch_size", "momentum", "weight_decay", "schedule", "evaluation_batch_size")
    assert all(getattr(recipe, key) == getattr(job.recipe, key) for key in unchanged)
    assert job.training("densenet50", seed=7).recipe.learning_rate == job.recipe.learning_rate


def test_the_data_of_a_set_replace_the_section_prepare() -> None:
    job = load_job("cifar10", ROOT / "params.yaml")
    assert (job.prepare.name, job.prepare.train_limit, job.prepare.test_limit) == ("cifar10", 10000, None)
    assert job.data_folder == Path("data/study/cifar10")
