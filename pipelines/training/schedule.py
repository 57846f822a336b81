"""The learning rate as a function of time."""

import math

from pipelines.training.config import RecipeConfig

WARMUP_START = 0.1  # part of the initial rate that the warm-up starts from


def learning_rate_at(recipe: RecipeConfig, epoch: float) -> float:
    """Return the learning rate after `epoch` epochs, 0 <= epoch <= recipe.epochs; fractions are steps.

    Linear warm-up from a tenth of the initial rate, then steps (a milestone m takes effect at epoch
    m * epochs) or half a cosine from the end of the warm-up down to 0 at the last epoch.
    """
    if epoch < recipe.warmup_epochs:
        return recipe.learning_rate * (WARMUP_START + (1 - WARMUP_START) * epoch / recipe.warmup_epochs)
    if recipe.schedule == "cosine":
        progress = (epoch - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    num_passed = sum(epoch >= milestone * recipe.epochs for milestone in recipe.milestones)
    return recipe.learning_rate * recipe.decay_factor**num_passed
