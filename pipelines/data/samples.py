"""A picture of the training images, class by class."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipelines.data.prepared import PreparedData
from pipelines.data.transforms import image_channels
from pipelines.figures import figure, plain

# Up to so many classes get a row each; more share a grid with one image of each.
_MAX_ROWS = 20
_COLUMNS = 10
_MAX_GRID = 100
_INCHES = 0.62
# Light grey between the images, so that white ones have an edge.
_BACKGROUND = 226
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}

Mosaic = npt.NDArray[np.uint8]


def draw_samples(data: PreparedData, path: Path) -> None:
    """Write a grid of training images to `path`: a row a class, or one image a class where there are many."""
    rows = data.num_classes <= _MAX_ROWS
    colours = slice(image_channels(data.num_channels, data.transform))
    tiles = [
        [image[colours] for image in row] for row in (_rows_by_class(data) if rows else _one_of_each(data))
    ]
    gap = max(1, data.image_size // 8)
    mosaic = _mosaic(tiles, data.image_size, gap)
    step, middle = data.image_size + gap, gap + data.image_size / 2 - 0.5
    scale = 1.0 if rows else 1.3
    with figure(path, scale * _INCHES * _COLUMNS + 1, scale * _INCHES * len(tiles) + 0.6) as drawing:
        axes = drawing.add_subplot()
        axes.imshow(mosaic, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_title(_title(data), fontsize=9, fontweight="normal")
        if rows:
            axes.set_yticks([middle + step * row for row in range(len(tiles))], map(plain, data.class_names))
            axes.tick_params(length=0)
            return
        for label, name in enumerate(data.class_names[:_MAX_GRID]):
            row, column = divmod(label, _COLUMNS)
            place = (middle + step * column, row * step + gap)
            axes.text(*place, plain(name), fontsize=5, ha="center", va="top", bbox=_LABEL_BOX)


def _rows_by_class(data: PreparedData) -> list[list[torch.Tensor]]:
    """Return the first training images of every class."""
    labels = range(data.num_classes)
    return [list(data.train.images[data.train.labels == label][:_COLUMNS]) for label in labels]


def _one_of_each(data: PreparedData) -> list[list[torch.Tensor]]:
    """Return the first training image of each class, in rows."""
    shown = range(min(data.num_classes, _MAX_GRID))
    firsts = [data.train.images[data.train.labels == label][0] for label in shown]
    return [firsts[start : start + _COLUMNS] for start in range(0, len(firsts), _COLUMNS)]


def _mosaic(tiles: list[list[torch.Tensor]], size: int, gap: int) -> Mosaic:
    """Lay uint8 images [c, size, size] out as one RGB picture [rows, columns, 3] with gaps of `gap` pixels."""
    step = size + gap
    shape = (len(tiles) * step + gap, _COLUMNS * step + gap, 3)
    mosaic = np.full(shape, _BACKGROUND, dtype=np.uint8)
    for row, images in enumerate(tiles):
        for column, image in enumerate(images):
            pixels = image.permute(1, 2, 0).numpy()
            # Grey images are shown as ink on paper: high values dark.
            pixels = 255 - pixels if pixels.shape[-1] == 1 else pixels
            top, left = gap + row * step, gap + column * step
            mosaic[top : top + size, left : left + size] = pixels
    return mosaic


def _title(data: PreparedData) -> str:
    counts = (
        f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test images"
    )
    size = f"{data.image_size} x {data.image_size} pixels"
    return f"{data.name}: {data.num_classes} classes, {size}\n{counts}"
