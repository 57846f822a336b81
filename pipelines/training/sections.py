"""What every job that trains a model reads from a parameter file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pipelines.config import load_section
from pipelines.models import DenseNetConfig
from pipelines.training.config import RecipeConfig

PREPARED = Path("data/prepared")
"""What the stage prepare writes and the stages of the main pipeline train on."""


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Base of the jobs that train models: the sections that they share, and the data."""

    recipe: RecipeConfig
    densenet: DenseNetConfig
    data_folder: Path
    """The prepared data."""


class SharedSections(TypedDict):
    """The fields of `TrainingJob`, as keywords of its subclasses."""

    recipe: RecipeConfig
    densenet: DenseNetConfig
    data_folder: Path


def shared_sections(params: Path, data_folder: Path = PREPARED, *, transfers: bool = False) -> SharedSections:
    """Read the sections `recipe` and `densenet`; UserError in one line on a value that is not allowed.

    Without `transfers` the recipe is one from scratch: experiments compare networks that start alike.
    """
    recipe = load_section(RecipeConfig, "recipe", params)
    return {
        "recipe": recipe if transfers else recipe.from_scratch(),
        "densenet": load_section(DenseNetConfig, "densenet", params),
        "data_folder": data_folder,
    }


def linear_rate(recipe: RecipeConfig, global_batch_size: int) -> float:
    """Return the recipe's learning rate for a step of so many samples, linear in it (Goyal 2017, section 2.1)."""
    return recipe.learning_rate * (global_batch_size / recipe.batch_size)
