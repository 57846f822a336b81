"""The parameter sets that tests start from, with any field replaced."""

import dataclasses
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pipelines.config import load_section
from pipelines.data import AugmentConfig
from pipelines.models import DenseNetConfig
from pipelines.training import RecipeConfig
from tests.imports import ROOT

RECIPE = RecipeConfig(
    epochs=4,
    batch_size=16,
    learning_rate=0.1,
    schedule="step",
    milestones=(0.5, 0.75),
    decay_factor=0.1,
    warmup_epochs=1.0,
    momentum=0.9,
    nesterov=True,
    weight_decay=1e-4,
    seed=3,
    device="cpu",
    precision="float32",
    memory_format="contiguous",
    execution="eager",
    evaluation_batch_size=64,
    augment=AugmentConfig(crop_padding=0, flip=False, cutout=0),
    start_from=None,
    frozen={},
)

# Of the strategy `auto`: a step a trial. Which bytes its choice sends is as with more, which choice is fastest is not.
SHORT_TRIALS = {"measured_steps": 1, "trial_rounds": 1, "trial_steps": 1, "trial_seconds": 0}

# The environment of launches that compile no kernels, which takes 4 s of a core a process and changes no bit.
UNCOMPILED = {"TORCH_COMPILE_DISABLE": "1"}


def make_recipe(**changes: Any) -> RecipeConfig:
    """Return a recipe of four epochs on the CPU, without augmentation."""
    return dataclasses.replace(RECIPE, **changes)


def make_densenet(**changes: Any) -> DenseNetConfig:
    """Return the committed DenseNet-BC at growth rate 12, by plain concatenation."""
    committed = load_section(DenseNetConfig, "densenet", ROOT / "conf/config.yaml")
    return dataclasses.replace(committed, **{"memory_efficient": False, **changes})


def composed(*overrides: str) -> dict[str, Any]:
    """Return the parameters that Hydra composes from conf/, with `overrides` such as `scale=paper`."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        container = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
