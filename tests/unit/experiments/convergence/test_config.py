"""The section `convergence`: what its dataclasses refuse, and what a set of the accuracy test makes of the others."""

from typing import Any

import pytest

from pipelines.config import load_section
from pipelines.config.loader import from_mapping
from pipelines.data.config import PrepareConfig
from pipelines.errors import UserError
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.job import parity_job, prepare_config
from tests.imports import ROOT

PARAMS = ROOT / "params.yaml"


def section() -> dict[str, Any]:
    trained = {"model": "densenet10", "seeds": 2, "first_seed": 4, "epochs": 1, "global_batch_size": 16}
    trained |= {"train_limit": None, "test_limit": None, "image_size": None}
    trained |= {"augment": {"crop_padding": 0, "flip": False, "cutout": 0}}
    parity = {"methods": ["sdp", "gq8"], "reference": "sdp", "margin_points": 0.5, "data": ["digits"]}
    return {
        "model": "densenet10",
        "methods": ["sdp"],
        "workers": [2, 8],
        "global_batch_size": 16,
        "epochs": 1,
        "parity": {**parity, "sets": {"digits": trained}},
    }


@pytest.mark.parametrize(
    ("key", "value", "blamed"),
    [
        ("workers", [1], "workers"),
        ("workers", [3], "global_batch_size"),
        ("methods", [], "methods"),
        ("parity.margin_points", 0.0, "parity.margin_points"),
        ("parity.methods", ["sdp"], "parity.methods"),
        ("parity.reference", "qsgd", "parity.methods"),
        ("parity.data", ["svhn"], "parity.data"),
        ("parity.sets.digits.seeds", 1, "parity.sets.digits.seeds"),
        ("parity.sets.digits.first_seed", -1, "parity.sets.digits.first_seed"),
        ("parity.sets.digits.global_batch_size", 15, "parity.sets.digits.global_batch_size"),
    ],
)
def test_a_bad_value_names_its_key(key: str, value: object, blamed: str) -> None:
    values = section()
    *parents, last = key.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    with pytest.raises(UserError, match=f"convergence.{blamed}: "):
        from_mapping(ConvergenceConfig, values, "convergence")


def test_a_set_has_its_own_images_model_and_augmentation() -> None:
    config = load_section(ConvergenceConfig, "convergence", PARAMS)
    trained = config.parity.sets["cifar10"]
    prepare = prepare_config(config, load_section(PrepareConfig, "prepare", PARAMS), "cifar10")
    assert (prepare.name, prepare.train_limit, prepare.image_size) == ("cifar10", 10_000, trained.image_size)
    job = parity_job("sdp", "cifar10", PARAMS)
    assert (job.model, job.epochs) == (trained.model, trained.epochs)
    assert (len(job.seeds), job.seeds[0]) == (trained.seeds, trained.first_seed)
    # Both workers together at the recipe's rate for the global batch, both augmenting as the set says.
    made = job.recipe_of(3)
    assert (made.batch_size, made.seed, made.augment) == (trained.global_batch_size // 2, 3, trained.augment)
    with pytest.raises(UserError, match="'svhn' is no key of it; keys: digits, cifar10"):
        parity_job("sdp", "svhn", PARAMS)
