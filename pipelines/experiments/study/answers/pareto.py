"""Accuracy against what it costs: the models of the comparison and the changes of the ablated one, in one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipelines.experiments.study.answers.figures import MARKERS
from pipelines.figures import COLORS, GREY, color_of, figure, scale_costs
from pipelines.results import Row

COSTS = {
    "num_parameters": "parameters",
    "num_multiply_adds": "multiply-adds, one image",
    "peak_memory_bytes": "memory of a training step, bytes",
    "train_seconds": "training, seconds",
}
COLUMNS = 2


@dataclass(frozen=True)
class Point:
    """A network: what it is called, its costs by the keys of `COSTS`, and its mean accuracy over the seeds."""

    name: str
    changed: bool
    """Whether it is a changed form of the ablated model, and no model of the comparison."""
    row: Row

    @property
    def accuracy(self) -> float:
        """Mean test accuracy."""
        return float(self.row["test_accuracy_mean"])


def points_of(comparison: Sequence[Row], ablation: Sequence[Row]) -> list[Point]:
    """Return the networks of `comparison_rows` and `ablation_rows` that were trained, the unchanged one of each."""
    points = [Point(row["model"], False, row) for row in comparison if row["num_seeds"]]
    return points + [
        Point(f"{row['model']}: {row['changed']}", True, row) for row in ablation if row["num_seeds"]
    ]


def pareto_front(points: Sequence[Point], key: str) -> list[Point]:
    """Return the points that no other one beats, by ascending cost.

    One beats another that costs at least as much and is at most as accurate, and is worse in one of the two.
    """

    def beats(one: Point, other: Point) -> bool:
        worse = other.row[key] >= one.row[key] and other.accuracy <= one.accuracy
        return worse and (other.row[key] > one.row[key] or other.accuracy < one.accuracy)

    known = [point for point in points if point.row.get(key) is not None]
    best = [point for point in known if not any(beats(other, point) for other in known)]
    return sorted(best, key=lambda point: float(point.row[key]))


def draw_pareto(points: Sequence[Point], path: Path) -> None:
    """Draw the test accuracy against each cost that is known of any point, a panel a cost; writes `path`.

    Bars are one deviation over seeds. The line joins the networks that no other beats in both.
    """
    keys = [key for key in COSTS if any(point.row.get(key) is not None for point in points)]
    lines = -(-len(keys) // COLUMNS)
    with figure(path, 9.0, 3.0 * lines) as drawing:
        panels = drawing.subplots(lines, COLUMNS, squeeze=False, sharey=True).flatten()
        for axes, key in zip(panels, keys, strict=False):
            _draw_panel(axes, points, key)
        for axes in panels[len(keys) :]:
            axes.set_axis_off()
        for axes in panels[::COLUMNS]:
            axes.set_ylabel("test accuracy in %")
        front = Line2D([], [], color=GREY, linestyle="--", linewidth=1)
        handles = [Line2D([], [], **look(index, point)) for index, point in enumerate(points)]
        names = [point.name for point in points]
        drawing.legend([*handles, front], [*names, "no other is better in both"], loc="outside right upper")


def _draw_panel(axes: Axes, points: Sequence[Point], key: str) -> None:
    known = [(index, point) for index, point in enumerate(points) if point.row.get(key) is not None]
    for index, point in known:
        deviation = point.row["test_accuracy_std"]
        axes.errorbar(
            point.row[key],
            100 * point.accuracy,
            yerr=None if deviation is None else 100 * deviation,
            capsize=2.5,
            elinewidth=1,
            **look(index, point),
        )
    front = pareto_front(points, key)
    costs, accuracies = [one.row[key] for one in front], [100 * one.accuracy for one in front]
    axes.step(costs, accuracies, where="post", color=GREY, linestyle="--", linewidth=1, zorder=1)
    scale_costs(axes, [point.row[key] for _, point in known])
    axes.set_xlabel(COSTS[key])


def look(index: int, point: Point) -> dict[str, Any]:
    """Return marker and colours of a point, the same in every panel and in the legend."""
    color = color_of(index)
    inside = "white" if point.changed else color
    # One further each time the colours start anew, so that no two points look alike.
    return {
        "color": color,
        "marker": MARKERS[(index + index // len(COLORS)) % len(MARKERS)],
        "markerfacecolor": inside,
        "linestyle": "none",
    }
