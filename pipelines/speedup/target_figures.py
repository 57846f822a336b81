"""Figures of what a target accuracy costs: measured accuracy against simulated time, and the costs by workers."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from pipelines.figures import GREY, color_of, figure, label_plainly
from pipelines.results import Row
from pipelines.speedup.target import Curves

PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.7  # inches
MOST_SHOWN = 16
"""Workers of the curves; more train on a few images each."""
COSTS = {
    "seconds_to_target": "seconds",
    "gigabytes_to_target": "GB sent by all workers",
    "price_to_target": "price",
}


def slowest(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the slowest link."""
    least = min((row["link_mbit_per_second"] for row in rows), default=0.0)
    return [row for row in rows if row["link_mbit_per_second"] == least]


def draw_nothing(path: Path) -> None:
    """Write a picture that says why it is empty."""
    with figure(path, 2 * PANEL_WIDTH, 0.5 * PANEL_HEIGHT) as drawing:
        drawing.text(0.5, 0.5, "No model here has recorded steps of other batch sizes.", ha="center")


def draw_target_curves(rows: Sequence[Row], curves: Curves, path: Path) -> None:
    """Draw measured test accuracy against simulated seconds on the slowest link; writes `path`.

    A column a model, a row of panels a number of workers: the fewest, and the most up to `MOST_SHOWN`. A point is an
    epoch.
    """
    if not rows:
        draw_nothing(path)
        return
    shown = slowest(rows)
    models = list(dict.fromkeys(row["model"] for row in shown))
    workers = sorted({row["workers"] for row in shown})
    most = max(number for number in workers if number <= max(MOST_SHOWN, workers[0]))
    chosen = list(dict.fromkeys([workers[0], most]))
    with figure(path, PANEL_WIDTH * len(models), PANEL_HEIGHT * len(chosen)) as drawing:
        panels = drawing.subplots(len(chosen), len(models), squeeze=False, sharey=True)
        for line, number in zip(panels, chosen, strict=True):
            for axis, model in zip(line, models, strict=True):
                mine = [row for row in shown if row["model"] == model and row["workers"] == number]
                _draw_curves(axis, mine, curves)
                axis.set_title(f"{model}, {number} workers, {shown[0]['link']}", fontsize=9)
            line[0].set_ylabel("test accuracy, measured")
        for axis in panels[-1]:
            axis.set_xlabel("seconds: measured steps, simulated step", fontsize=8)
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _draw_curves(axis: Axes, rows: Sequence[Row], curves: Curves) -> None:
    for index, row in enumerate(rows):
        curve = curves.of(row["model"], row["method"], row["workers"])
        seconds = [epoch["steps"] * row["step_seconds"] for epoch in curve]
        accuracies = [epoch["test_accuracy"] for epoch in curve]
        axis.plot(seconds, accuracies, marker=".", color=color_of(index), label=row["study_method"])
    for row in rows[:1]:
        axis.axhline(row["target_accuracy"], color=GREY, linewidth=1, linestyle=":")
    others = sorted({row["curve_model"] for row in rows if row["curve_model"] != row["model"]})
    if others:
        note = f"curves of {', '.join(others)}"
        axis.text(0.97, 0.04, note, transform=axis.transAxes, ha="right", fontsize=7, color=GREY)
    axis.set_xscale("log")
    label_plainly(axis.xaxis)
    axis.tick_params(axis="x", labelsize=7)


def draw_target_costs(rows: Sequence[Row], path: Path) -> None:
    """Draw seconds, bytes and price to the target against the workers, on the slowest link; writes `path`.

    What never reaches the target has no point. A hollow point rests on the curve of another model.
    """
    if not rows:
        draw_nothing(path)
        return
    shown = slowest(rows)
    models = list(dict.fromkeys(row["model"] for row in shown))
    with figure(path, PANEL_WIDTH * len(models), PANEL_HEIGHT * len(COSTS)) as drawing:
        panels = drawing.subplots(len(COSTS), len(models), squeeze=False, sharex=True, sharey="row")
        for line, (key, title) in zip(panels, COSTS.items(), strict=True):
            for axis, model in zip(line, models, strict=True):
                _draw_costs(axis, [row for row in shown if row["model"] == model], key)
                axis.set_title(f"{model}, {shown[0]['link']}", fontsize=9)
            line[0].set_ylabel(f"{title} to {shown[0]['target_accuracy']:.0%}")
        for axis in panels[-1]:
            axis.set_xlabel("workers, batch of all kept")
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _draw_costs(axis: Axes, rows: Sequence[Row], key: str) -> None:
    workers = sorted({row["workers"] for row in rows})
    for index, name in enumerate(dict.fromkeys(row["study_method"] for row in rows)):
        mine = sorted(
            (row["workers"], row[key], row["curve_model"] == row["model"])
            for row in rows
            if row["study_method"] == name and row[key] is not None
        )
        color = color_of(index)
        axis.plot(
            [x for x, *_ in mine], [y for _, y, _ in mine], color=color, label=f"{name}, simulated step"
        )
        for x, y, own in mine:
            axis.plot(x, y, marker="o", color=color, markerfacecolor=color if own else "white")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(workers, [str(number) for number in workers])
    axis.minorticks_off()
    label_plainly(axis.yaxis)
