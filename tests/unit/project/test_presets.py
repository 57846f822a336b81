"""conf/ is the source of params.yaml; every preset is complete and passes the strict loader."""

from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from ruamel.yaml import YAML

from pipelines.config import load_section, load_yaml
from pipelines.data.config import PrepareConfig
from pipelines.evaluation.config import EvaluateConfig
from pipelines.models.config import DenseNetConfig
from pipelines.parallel import strategies  # noqa: F401  registers them
from pipelines.parallel.config import DistributedConfig
from pipelines.parallel.strategy import build_strategy
from pipelines.speedup import SpeedupConfig
from pipelines.tracking import TrackingConfig
from pipelines.training.config import BaselineConfig, RecipeConfig, TrainConfig
from tests.imports import ROOT

SECTIONS = {
    "prepare": PrepareConfig,
    "densenet": DenseNetConfig,
    "recipe": RecipeConfig,
    "train": TrainConfig,
    "baseline": BaselineConfig,
    "distributed": DistributedConfig,
    "evaluate": EvaluateConfig,
    "speedup": SpeedupConfig,
    "tracking": TrackingConfig,
}
SCALES = sorted(path.stem for path in (ROOT / "conf/scale").glob("*.yaml"))
DATA = sorted(path.stem for path in (ROOT / "conf/data").glob("*.yaml"))
CLUSTERS = sorted(path.stem for path in (ROOT / "conf/cluster").glob("*.yaml"))


def composed(*overrides: str) -> dict[str, object]:
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        container = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def test_the_committed_parameters_are_the_default_preset() -> None:
    assert load_yaml(ROOT / "params.yaml") == composed()


@pytest.mark.parametrize(("scale", "data", "cluster"), list(product(SCALES, DATA, CLUSTERS)))
def test_every_preset_passes_the_strict_loader(tmp_path: Path, scale: str, data: str, cluster: str) -> None:
    params = tmp_path / "params.yaml"
    with params.open("w") as file:
        YAML(typ="safe").dump(composed(f"scale={scale}", f"data={data}", f"cluster={cluster}"), file)
    assert set(load_yaml(params)) == {*SECTIONS, "methods"}
    for name, section in SECTIONS.items():
        load_section(section, name, params)
    for method in load_section(DistributedConfig, "distributed", params).methods:
        build_strategy(method, params)


def test_the_paper_preset_is_the_published_recipe() -> None:
    # Huang et al. 2017, section 4.2: CIFAR, batch 64, 300 epochs, rate 0.1 divided by 10 at 50 % and 75 %,
    # weight decay 1e-4, Nesterov momentum 0.9; "+": pad-4 crop and mirror.
    paper = composed("scale=paper")
    assert isinstance(paper["recipe"], dict)
    assert isinstance(paper["prepare"], dict)
    recipe = paper["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["learning_rate"]) == (300, 64, 0.1)
    assert (recipe["schedule"], recipe["milestones"], recipe["decay_factor"]) == ("step", [0.5, 0.75], 0.1)
    assert (recipe["weight_decay"], recipe["momentum"], recipe["nesterov"]) == (1e-4, 0.9, True)
    assert recipe["augment"] == {"crop_padding": 4, "flip": True, "cutout": 0}
    assert (paper["prepare"]["name"], paper["prepare"]["train_limit"]) == ("cifar10", None)
