"""Data sets: found, split, normalised, kept in memory, cut into batches."""

from pipelines.data.batches import Batches, ordered_batches, training_batches
from pipelines.data.config import AugmentConfig, PrepareConfig
from pipelines.data.prepared import PreparedData, Split, load_prepared

__all__ = [
    "AugmentConfig",
    "Batches",
    "PrepareConfig",
    "PreparedData",
    "Split",
    "load_prepared",
    "ordered_batches",
    "training_batches",
]
