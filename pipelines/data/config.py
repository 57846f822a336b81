"""Parameters of the data: what `prepare` reads and how training images are augmented."""

from dataclasses import dataclass, replace
from typing import Protocol

from pipelines.config import choice, number, require, whole
from pipelines.config.validate import MOST_IMAGES, MOST_PIXELS, MOST_SEED

LEAST_PIXELS = 4
NOISE_KINDS = ("symmetric", "pair")
MOST_NOISE = {"symmetric": 99, "pair": 49}
"""Percent; a pair that has half of the labels of another class cannot be told from it."""


def check_limits(config: object) -> None:
    """Raise FieldError unless those of train_limit, test_limit and image_size that `config` has are in range."""
    whole(config, "train_limit", "test_limit", most=MOST_IMAGES, null=True)
    if hasattr(config, "image_size"):
        whole(config, "image_size", least=LEAST_PIXELS, most=MOST_PIXELS, null=True)


class Limits(Protocol):
    """Part of a section of an experiment: how much of a data set it takes, at which size."""

    @property
    def train_limit(self) -> int | None:
        """As prepare.train_limit."""

    @property
    def test_limit(self) -> int | None:
        """As prepare.test_limit."""

    @property
    def image_size(self) -> int | None:
        """As prepare.image_size."""


@dataclass(frozen=True, kw_only=True)
class LabelNoiseConfig:
    """Section `prepare.label_noise`: wrong labels in the training part (`pipelines/data/label_noise.py`)."""

    kind: str
    """`symmetric`: any other class, each as likely; `pair`: the next class, of the last one the first."""
    percent: int
    """Of every class, how many labels become wrong on average."""

    def __post_init__(self) -> None:
        choice("kind", self.kind, NOISE_KINDS)
        whole(self, "percent", most=MOST_NOISE[self.kind])


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Section `prepare`: which data set, where from, how much of it, how it is split."""

    name: str
    """Name of the data set in the registry (`pipelines/data/sources`), or `folder` or `npz` for one's own."""
    root: str | None
    """Folder that is searched first; null: the environment variable GQBENCH_DATA_ROOT, if it is set."""
    download: bool
    """Whether torchvision may download a set that is not found."""
    path: str | None
    """For `folder` and `npz` only: the folder of images by class, or the file."""
    validation_fraction: float
    """Part of the training images set aside for validation, drawn class by class."""
    test_fraction: float
    """Part of all images set aside as test split where the set has no official one."""
    train_limit: int | None
    """Images kept of the training part (validation included), class by class; null: all."""
    test_limit: int | None
    """Images kept of the test part, class by class; null: all."""
    image_size: int | None
    """Side in pixels that images are resized to; null: as they are."""
    transform: str | None
    """Change that every image goes through, by its name in the registry (`pipelines/data/transforms`); null: none."""
    label_noise: LabelNoiseConfig | None
    """Wrong labels, to study what they cost; in the training part alone, so that scores are those on clean labels;
    null: none."""
    seed: int
    """Seed of the subsets, the split and the label noise."""

    def __post_init__(self) -> None:
        number(self, "validation_fraction", "test_fraction", above=0.0, most=0.5)
        check_limits(self)
        whole(self, "seed", least=0, most=MOST_SEED)
        needs_path = self.name in ("folder", "npz")
        require(not needs_path or bool(self.path), "path", self.path, f"a path, as name is {self.name!r}")
        require(needs_path or self.path is None, "path", self.path, "null, unless name is 'folder' or 'npz'")

    def for_set(self, name: str, limits: Limits) -> "PrepareConfig":
        """Return the section for the data set `name` with the limits of an experiment in place of its own."""
        return replace(
            self,
            name=name,
            path=None,
            train_limit=limits.train_limit,
            test_limit=limits.test_limit,
            image_size=limits.image_size,
        )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Section `recipe.augment`: random changes to each training image, drawn anew each epoch.

    All fill with zero *after* normalisation, the mean colour, as the DenseNet authors' code does.
    """

    crop_padding: int
    """Pixels of zero padding on each side before a random crop back to size; 0: off. CIFAR's custom is 4."""
    flip: bool
    """Mirror left to right with probability 1/2; wrong for digits."""
    cutout: int
    """Side in pixels of the square that is zeroed at a random place (DeVries and Taylor 2017); 0: off."""

    def __post_init__(self) -> None:
        whole(self, "crop_padding", "cutout", least=0, most=MOST_PIXELS)
