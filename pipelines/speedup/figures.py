"""Figures of the speed-up analysis."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pipelines.figures import GREY, color_of, figure
from pipelines.parallel.metering.step_times import PARTS
from pipelines.results import Row

PANEL_WIDTH = 3.4  # inches
PANEL_HEIGHT = 3.4


def draw_step_parts(rows: list[Row], path: Path) -> None:
    """Stacked bars of the parts of a measured step, one panel a model, one bar a method; writes `path`."""
    measured = [row for row in rows if row["source"] == "measured"]
    models = list(dict.fromkeys(row["model"] for row in measured))
    with figure(path, PANEL_WIDTH * len(models), PANEL_HEIGHT) as drawing:
        axes = drawing.subplots(1, len(models), squeeze=False)[0]
        for axis, model in zip(axes, models, strict=True):
            _stack_parts(axis, [row for row in measured if row["model"] == model])
            axis.set_title(model)
        axes[0].set_ylabel("seconds per step (median)")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(PARTS))


def _stack_parts(axis: Axes, rows: list[Row]) -> None:
    """Draw one panel: compute, encode, exposed communication and decode on top of each other."""
    names = [row["method"] for row in rows]
    bottom = np.zeros(len(rows))
    for index, part in enumerate(PARTS):
        seconds = np.array([max(row[f"{part}_seconds"], 0.0) for row in rows])
        axis.bar(names, seconds, bottom=bottom, label=part, color=color_of(index))
        bottom += seconds
    for position, row in enumerate(rows):
        axis.annotate(
            f"{row['acceleration_ratio']:.2f}×",
            (position, bottom[position]),
            ha="center",
            va="bottom",
            fontsize="small",
        )
    axis.set_ylim(0, float(bottom.max()) * 1.12)
    axis.tick_params(axis="x", labelrotation=20)


def draw_acceleration_by_link(rows: list[Row], path: Path) -> None:
    """Predicted acceleration ratio against the link's bandwidth, one panel a model; writes `path`."""
    predicted = [row for row in rows if row["source"] == "predicted"]
    models = list(dict.fromkeys(row["model"] for row in predicted))
    with figure(path, PANEL_WIDTH * len(models), PANEL_HEIGHT) as drawing:
        axes = drawing.subplots(1, len(models), squeeze=False, sharey=True)[0]
        for axis, model in zip(axes, models, strict=True):
            _draw_links(axis, [row for row in predicted if row["model"] == model])
            axis.set_title(model)
        axes[0].set_ylabel("acceleration ratio (predicted)")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _draw_links(axis: Axes, rows: list[Row]) -> None:
    """Draw one panel: a line a method over the bandwidth of the link."""
    for index, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        mine = sorted(
            (row["link_mbit_per_second"], row["acceleration_ratio"])
            for row in rows
            if row["method"] == method
        )
        axis.plot(*zip(*mine, strict=True), marker="o", label=method, color=color_of(index))
    axis.axhline(1.0, color=GREY, linewidth=1, linestyle=":")
    axis.set_xscale("log")
    axis.set_xlabel("link in Mbit/s")


def draw_training_curves(histories: dict[tuple[str, str], list[Row]], path: Path) -> None:
    """Training loss by epoch, one panel a model, one line a method; `histories` is keyed (model, method)."""
    models = list(dict.fromkeys(model for model, _ in histories))
    with figure(path, PANEL_WIDTH * len(models), PANEL_HEIGHT) as drawing:
        axes = drawing.subplots(1, len(models), squeeze=False, sharey=True)[0]
        for axis, model in zip(axes, models, strict=True):
            mine = {method: rows for (owner, method), rows in histories.items() if owner == model}
            for index, (method, rows) in enumerate(mine.items()):
                epochs = [int(row["epoch"]) for row in rows]
                losses = [float(row["train_loss"]) for row in rows]
                axis.plot(epochs, losses, marker=".", label=method, color=color_of(index))
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_title(model)
            axis.set_xlabel("epoch")
        axes[0].set_ylabel("training loss")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))
