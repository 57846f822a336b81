"""conf/ is the source of params.yaml; every preset is complete and passes the strict loader."""

from itertools import product

import pytest

from pipelines.config import load_yaml
from pipelines.config.loader import from_mapping
from pipelines.parallel.strategies import build_strategy
from pipelines.preflight.sections import SECTIONS
from tests.configs import composed
from tests.imports import ROOT

SCALES = sorted(path.stem for path in (ROOT / "conf/scale").glob("*.yaml"))
DATA = sorted(path.stem for path in (ROOT / "conf/data").glob("*.yaml"))
CLUSTERS = sorted(path.stem for path in (ROOT / "conf/cluster").glob("*.yaml"))


def test_the_committed_parameters_are_the_default_preset() -> None:
    assert load_yaml(ROOT / "params.yaml") == composed()


@pytest.mark.parametrize(
    "choices",
    [
        *({"scale": scale, "data": data} for scale, data in product(SCALES, DATA)),
        *({"cluster": cluster} for cluster in CLUSTERS),
    ],
    ids=lambda choices: "-".join(choices.values()),
)
def test_every_preset_passes_the_strict_loader(choices: dict[str, str]) -> None:
    params = composed(*(f"{group}={name}" for group, name in choices.items()))
    assert set(params) == {*SECTIONS, "methods"}
    for name, owner in SECTIONS.items():
        from_mapping(owner, params[name], name)


def test_every_method_of_the_presets_builds() -> None:
    methods = {method for scale in SCALES for method in composed(f"scale={scale}")["distributed"]["methods"]}
    for method in methods:
        build_strategy(method, ROOT / "params.yaml")


def test_the_paper_preset_is_the_published_recipe() -> None:
    # Huang et al. 2017, section 4.2: CIFAR, batch 64, 300 epochs, rate 0.1 divided by 10 at 50 % and 75 %,
    # weight decay 1e-4, Nesterov momentum 0.9; "+": pad-4 crop and mirror.
    paper = composed("scale=paper")
    recipe = paper["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["learning_rate"]) == (300, 64, 0.1)
    assert (recipe["schedule"], recipe["milestones"], recipe["decay_factor"]) == ("step", [0.5, 0.75], 0.1)
    assert (recipe["weight_decay"], recipe["momentum"], recipe["nesterov"]) == (1e-4, 0.9, True)
    assert recipe["augment"] == {"crop_padding": 4, "flip": True, "cutout": 0}
    prepare = paper["prepare"]
    assert (prepare["name"], prepare["train_limit"]) == ("cifar10", None)
