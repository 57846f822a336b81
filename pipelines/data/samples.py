"""A picture of the training images, class by class."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.data.prepared import PreparedData
from pipelines.figures import figure

# Up to so many classes get a row each; more share a grid with one image of each.
_MAX_ROWS = 20
_IMAGES_PER_ROW = 10
_GRID_COLUMNS = 10
_MAX_GRID = 100


def draw_samples(data: PreparedData, path: Path) -> None:
    """Write a grid of training images to `path`: a row a class, or one image a class where there are many."""
    if data.num_classes <= _MAX_ROWS:
        _draw_rows(data, path)
    else:
        _draw_grid(data, path)


def _draw_rows(data: PreparedData, path: Path) -> None:
    # Room for the class names, which stand left of the rows.
    label_inches = 0.35 + 0.075 * max(len(name) for name in data.class_names)
    width = label_inches + 0.62 * _IMAGES_PER_ROW
    with figure(path, width, 0.6 + 0.62 * data.num_classes) as drawing:
        _set_title(drawing, data)
        grid = drawing.subplots(data.num_classes, _IMAGES_PER_ROW, squeeze=False)
        drawing.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
        for label, name in enumerate(data.class_names):
            images = data.train.images[data.train.labels == label][:_IMAGES_PER_ROW]
            for column, axes in enumerate(grid[label]):
                _show(axes, images[column] if column < len(images) else None)
            grid[label][0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)


def _draw_grid(data: PreparedData, path: Path) -> None:
    num_shown = min(data.num_classes, _MAX_GRID)
    num_rows = -(-num_shown // _GRID_COLUMNS)
    with figure(path, 0.82 * _GRID_COLUMNS, 0.6 + 0.95 * num_rows) as drawing:
        _set_title(drawing, data)
        grid = drawing.subplots(num_rows, _GRID_COLUMNS, squeeze=False).ravel()
        for label, axes in enumerate(grid):
            images = data.train.images[data.train.labels == label]
            _show(axes, images[0] if len(images) else None)
            if len(images):
                axes.set_title(data.class_names[label], fontsize=6, fontweight="normal", loc="center", pad=2)


def _set_title(drawing: Figure, data: PreparedData) -> None:
    counts = f"{len(data.train):,} training, {len(data.validation):,} validation, {len(data.test):,} test"
    size = f"{data.image_size} x {data.image_size} pixels"
    title = f"{data.name}: {data.num_classes} classes, {size}\n{counts} images"
    drawing.suptitle(title, x=0.01, ha="left", fontsize=9)


def _show(axes: Axes, image: torch.Tensor | None) -> None:
    """Draw one uint8 [c, h, w] image without axes; nothing for None."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=image is not None, color="#d0d0d0", linewidth=0.5)
    if image is not None:
        pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
        # Grey images are drawn on white, as ink on paper, from 0 to 255 so that contrast is the data's own.
        axes.imshow(pixels, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
