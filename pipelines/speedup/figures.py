"""Figures of the speed-up analysis."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipelines.figures import color_of, new_figure, save_figure
from pipelines.parallel.times import PARTS

Row = dict[str, Any]


def draw_step_parts(rows: list[Row], path: Path) -> None:
    """Stacked bars of the parts of a measured step, one panel a model, one bar a method; writes `path`."""
    measured = [row for row in rows if row["source"] == "measured"]
    models = list(dict.fromkeys(row["model"] for row in measured))
    figure, axes = new_figure(columns=len(models), width=3.4, height=3.2)
    for axis, model in zip(axes, models, strict=True):
        _stack_parts(axis, [row for row in measured if row["model"] == model])
        axis.set_title(model)
    axes[0].set_ylabel("seconds per step (median)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(PARTS), frameon=False)
    save_figure(figure, path)


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
    figure, axes = new_figure(columns=len(models), width=3.4, height=3.2, sharey=True)
    for axis, model in zip(axes, models, strict=True):
        methods = list(dict.fromkeys(row["method"] for row in predicted if row["model"] == model))
        for index, method in enumerate(methods):
            points = sorted(
                (float(row["link"].removesuffix("mbit")), row["acceleration_ratio"])
                for row in predicted
                if row["model"] == model and row["method"] == method
            )
            axis.plot(*zip(*points, strict=True), marker="o", label=method, color=color_of(index))
        axis.axhline(1.0, color="0.6", linewidth=1, linestyle=":")
        axis.set_xscale("log")
        axis.set_title(model)
        axis.set_xlabel("link in Mbit/s")
    axes[0].set_ylabel("acceleration ratio (predicted)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    save_figure(figure, path)
