"""Whether the network that the main pipeline starts from is there, and fits its models (`recipe.start_from`)."""

from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from pipelines.models import build_model_for
from pipelines.preflight.memory import NATIVE_SIZES
from pipelines.training import RecipeConfig
from pipelines.training.job import CHECKPOINT_FOLDER, check_place
from pipelines.training.start import check_start, load_start, take_weights


@dataclass(frozen=True)
class Shape:
    """What a model must know of the images that it is for."""

    num_channels: int
    image_size: int
    num_classes: int


def start_problems(sections: dict[str, Any]) -> list[str]:
    """Return a line for each model of the main pipeline that cannot start as the recipe says.

    The weights are tried on the data set's images as they are; of a user's own, whose shape is not known before they
    are read, on such as the network was trained on.
    """
    recipe: RecipeConfig = sections["recipe"]
    try:
        check_start(recipe)
        if recipe.start_from is None:
            return []
        checkpoint = load_start(recipe.start_from)
    except UserError as error:
        return [str(error)]
    spec, prepare = checkpoint.spec, sections["prepare"]
    shape = Shape(spec.num_channels, spec.image_size, spec.num_classes)
    if prepare.name in NATIVE_SIZES and prepare.transform is None:
        channels, size, classes = NATIVE_SIZES[prepare.name]
        shape = Shape(channels, prepare.image_size or size, classes)
    trained = [*(f"densenet{depth}" for depth in sections["train"].depths), *sections["baseline"].models]
    problems = []
    for name in dict.fromkeys([*trained, *sections["distributed"].models]):
        try:
            if name in trained:
                check_place(recipe, CHECKPOINT_FOLDER / name)
            take_weights(build_model_for(shape, name, sections["densenet"], seed=0), checkpoint, recipe)
        except UserError as error:
            problems.append(str(error))
    return problems
