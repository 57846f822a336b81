"""Figures of the speed-up analysis."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipelines.figures import GREY, color_of, figure
from pipelines.parallel.metering.step_times import PARTS
from pipelines.results import Row
from pipelines.speedup.model import is_local

PANEL_WIDTH = 3.4  # inches
PANEL_HEIGHT = 3.4
STAR = 11
"""Size of the mark of a measured cell, points."""


def draw_step_parts(rows: list[Row], path: Path) -> None:
    """Stacked bars of the parts of a measured step, one panel a model, one bar a method; writes `path`."""
    measured = [row for row in rows if is_local(row)]
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
    """Acceleration ratio against the link's bandwidth, one panel a model; writes `path`.

    Lines are predicted. A cell that was measured on an emulated link is a filled star in the method's colour; its
    prediction stays on the line.
    """
    linked = [row for row in rows if not is_local(row)]
    models = list(dict.fromkeys(row["model"] for row in linked))
    with figure(path, PANEL_WIDTH * len(models), PANEL_HEIGHT) as drawing:
        axes = drawing.subplots(1, len(models), squeeze=False, sharey=True)[0]
        for axis, model in zip(axes, models, strict=True):
            _draw_links(axis, [row for row in linked if row["model"] == model])
            axis.set_title(model)
        axes[0].set_ylabel("acceleration ratio")
        handles, labels = axes[0].get_legend_handles_labels()
        if any(row["source"] == "measured" for row in linked):
            handles.append(Line2D([], [], color=GREY, marker="*", markersize=STAR, linestyle=""))
            labels.append("measured on an emulated link")
        drawing.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))


def _draw_links(axis: Axes, rows: list[Row]) -> None:
    """Draw one panel: a line a method over the bandwidth of the link, a star a measured cell."""
    for index, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        mine = [row for row in rows if row["method"] == method]
        line = sorted((row["link_mbit_per_second"], row["predicted_acceleration_ratio"]) for row in mine)
        color = color_of(index)
        axis.plot(
            *zip(*line, strict=True), marker="o", markersize=4, label=f"{method}, predicted", color=color
        )
        for row in (each for each in mine if each["source"] == "measured"):
            x, y = row["link_mbit_per_second"], row["acceleration_ratio"]
            axis.plot(x, y, marker="*", markersize=STAR, color=color, markeredgecolor="black", zorder=3)
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
