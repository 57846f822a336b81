"""What a data source delivers, the registry of sources, and the checks that every delivery must pass."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.config.show import show
from pipelines.data.config import PrepareConfig
from pipelines.errors import UserError
from pipelines.registry import Registry

MOST_NAME = 100
"""Characters of a class's name: it stands in tables and figures."""

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A data set as its source holds it, before subsets and splits.

    Images are uint8 [n, c, h, w], labels int64 [n] in 0..len(class_names) - 1. `test_images` and
    `test_labels` are None where the set has no official test split.
    """

    class_names: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images | None
    test_labels: Labels | None
    source: str
    """How it was found, without any path: "embedded", "npz", "torchvision", "idx", "folder"."""


Source = Callable[[PrepareConfig], RawData]
SOURCES: Registry[Source] = Registry("data set", "prepare.name")


def as_images(array: npt.NDArray[np.generic], where: str) -> Images:
    """Return `array` ([n, h, w] or [n, h, w, c] uint8) as contiguous uint8 [n, c, h, w]; `where` names it.

    Raises UserError on another dtype, shape, channel count or an empty array.
    """
    if array.dtype != np.uint8:
        raise UserError(f"{where}: images of dtype {array.dtype} are not allowed; allowed: uint8 (0 to 255)")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{where}: shape {array.shape} is not allowed; allowed: [n, height, width] or "
            "[n, height, width, channels] with 1 or 3 channels and at least one image"
        )
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2), dtype=np.uint8)


def as_labels(array: npt.NDArray[np.generic], num_images: int, where: str) -> Labels:
    """Return `array` ([n] or [n, 1], whole numbers) as int64 [n]; `where` names it in a UserError."""
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{where}: labels of dtype {array.dtype} are not allowed; allowed: whole numbers")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (num_images,):
        raise UserError(
            f"{where}: shape {array.shape} is not allowed; allowed: one label for each of {num_images} images"
        )
    return array.astype(np.int64)


def check_raw(raw: RawData, name: str) -> None:
    """Raise UserError unless labels lie in range and both parts have images of one shape."""
    parts = [("training", raw.train_images, raw.train_labels)]
    if raw.test_images is not None and raw.test_labels is not None:
        parts.append(("test", raw.test_images, raw.test_labels))
    num_classes = len(raw.class_names)
    if num_classes < 2:
        raise UserError(
            f"prepare.name: {name}: {num_classes} class is not enough; allowed: at least 2 classes"
        )
    for class_name in raw.class_names:
        if not class_name.isprintable() or len(class_name) > MOST_NAME:
            raise UserError(
                f"prepare.name: {name}: the class name {show(class_name)} is not allowed; allowed: printable names "
                f"of at most {MOST_NAME} characters"
            )
    for part, images, labels in parts:
        if images.shape[1:] != raw.train_images.shape[1:]:
            raise UserError(
                f"prepare.name: {name}: test images of shape {images.shape[1:]} do not match training images "
                f"of shape {raw.train_images.shape[1:]} (channels, height, width)"
            )
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if outside.size:
            raise UserError(
                f"prepare.name: {name}: label {outside[0]} in the {part} part is not allowed; "
                f"allowed: 0 to {num_classes - 1}"
            )
