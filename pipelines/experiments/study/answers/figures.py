"""Figures of the recognition study."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pipelines.figures import GREY, PLAIN, color_of, figure, label_plainly
from pipelines.results import Row

PANEL_WIDTH = 3.0  # inches
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
CURVES = {"loss": "loss", "accuracy": "accuracy in %"}


def draw_depth_curves(rows: Sequence[Row], milestones: Sequence[float], path: Path) -> None:
    """Draw loss and accuracy by epoch, a column a model, a colour an initial rate; writes `path`.

    Solid: validation; dashed: training; dotted vertical: the learning rate drops, at the `milestones`, which are
    parts of all epochs.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    rates = sorted({row["learning_rate"] for row in rows})
    with figure(path, max(PANEL_WIDTH * len(models), 5.4), 5.0) as drawing:
        panels = drawing.subplots(len(CURVES), len(models), squeeze=False, sharex=True, sharey="row")
        for line, (key, title) in zip(panels, CURVES.items(), strict=True):
            for axes, model in zip(line, models, strict=True):
                mine = [row for row in rows if row["model"] == model]
                _draw_runs(axes, mine, rates, key)
                for drop in rate_drop_epochs(mine, milestones):
                    axes.axvline(drop, color=GREY, linewidth=0.9, linestyle=":")
            line[0].set_ylabel(title)
        for axes, model in zip(panels[0], models, strict=True):
            axes.set_yscale("log")
            label_plainly(axes.yaxis)
            axes.set_title(model)
        for axes in panels[-1]:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("epoch")
        handles = [
            *(Line2D([], [], color=color_of(index)) for index in range(len(rates))),
            *(Line2D([], [], color=GREY, linestyle=style) for style in ("-", "--", ":")),
        ]
        labels = [f"initial rate {rate:g}" for rate in rates]
        labels += ["validation", "training", "the rate drops"]
        drawing.legend(handles, labels, loc="outside lower center", ncols=4)


def _draw_runs(axes: Axes, rows: Sequence[Row], rates: Sequence[float], key: str) -> None:
    """Draw a model's training and validation curves of `key`, a colour a rate."""
    scale = 100 if key == "accuracy" else 1
    for index, rate in enumerate(rates):
        for part, style, width in (("validation", "-", 1.6), ("train", "--", 0.9)):
            points = [
                (row["epoch"], scale * row[f"{part}_{key}"])
                for row in rows
                if row["learning_rate"] == rate and row[f"{part}_{key}"] is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), color=color_of(index), linestyle=style, linewidth=width)


def rate_drop_epochs(rows: Sequence[Row], milestones: Sequence[float]) -> list[float]:
    """Return after how many epochs the schedule of the runs lowers the rate, where a run came that far.

    Whole numbers fall on the points of the curves, which stand at the ends of the epochs.
    """
    last = max((row["epoch"] for row in rows), default=0)
    drops = {milestone * row["epochs"] for row in rows for milestone in milestones}
    return sorted(drop for drop in drops if drop < last)


def draw_rates(rows: Sequence[Row], path: Path) -> None:
    """Draw the validation accuracy of the last epoch against the initial rate, a line a model; writes `path`."""
    last = {
        (row["model"], row["learning_rate"]): row for row in sorted(rows, key=lambda row: int(row["epoch"]))
    }
    models = list(dict.fromkeys(row["model"] for row in rows))
    with figure(path, 5.2, 3.4) as drawing:
        axes = drawing.add_subplot()
        for index, model in enumerate(models):
            points = sorted(
                (rate, 100 * row["validation_accuracy"])
                for (name, rate), row in last.items()
                if name == model and row["validation_accuracy"] is not None
            )
            if points:
                marker = MARKERS[index % len(MARKERS)]
                axes.plot(*zip(*points, strict=True), color=color_of(index), marker=marker, label=model)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted({row["learning_rate"] for row in rows})))
        axes.xaxis.set_major_formatter(PLAIN)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="initial learning rate", ylabel="validation accuracy in %")
        axes.set_title("Accuracy after the last epoch")
        drawing.legend(loc="outside right upper")


def draw_robustness(rows: Sequence[Row], path: Path) -> None:
    """Draw the mean test accuracy over seeds by severity, a panel a corruption, a line a model; writes `path`."""
    kinds = list(dict.fromkeys(row["corruption"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    severities = sorted({row["severity"] for row in rows})
    with figure(path, max(2.3 * len(kinds), 5.0), 3.2) as drawing:
        panels = drawing.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            for index, model in enumerate(models):
                mine = [row for row in rows if (row["model"], row["corruption"]) == (model, kind)]
                means = [
                    100
                    * float(np.mean([row["test_accuracy"] for row in mine if row["severity"] == severity]))
                    for severity in severities
                ]
                marker = MARKERS[index % len(MARKERS)]
                axes.plot(severities, means, color=color_of(index), marker=marker, markersize=4, label=model)
            axes.set_title(kind.replace("_", " "))
            axes.set_xlabel("severity")
            axes.xaxis.set_major_locator(FixedLocator(severities))
        panels[0].set_ylabel("test accuracy in %")
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=4)
