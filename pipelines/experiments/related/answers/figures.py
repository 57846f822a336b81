"""Figures of the systems: accuracy against the bytes that two workers hand over in a step."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipelines.figures import GREY, color_of, figure, plain, scale_costs
from pipelines.results import Row

MARKERS = {"baseline": "s", "system": "o", "ablation": "^", "peer": "D"}


def draw_bytes(rows: Sequence[Row], path: Path, settings: Mapping[str, str] | None = None) -> None:
    """Draw the mean test accuracy of each variant against its bytes a step under GQ; writes `path`.

    `rows`: one a variant; bars are the 95 % t interval over seeds, a hollow marker is the accuracy of the two workers
    under GQ. `settings` names the panel of each variant; None: there is one panel.
    """
    of = settings or {}
    shown = [row for row in rows if row["test_accuracy_mean"] is not None]
    panels = list(dict.fromkeys(of.get(row["variant"], "") for row in shown))
    labels = [row["variant"].removesuffix(f"_{of.get(row['variant'], '')}") for row in shown]
    color = {label: color_of(index) for index, label in enumerate(dict.fromkeys(labels))}
    with figure(path, 6.2 + 2.2 * (len(panels) - 1), 3.6) as drawing:
        grid = drawing.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            for row, label in zip(shown, labels, strict=True):
                if of.get(row["variant"], "") == panel:
                    _draw_variant(axes, row, label, color[label])
            scale_costs(axes, [row["compressed_bytes_per_step_mean"] for row in shown])
            axes.set(xlabel="bytes a step under GQ", title=plain(panel))
        grid[0].set_ylabel("test accuracy in %")
        drawing.suptitle("Accuracy against gradients sent", x=0.01, ha="left", fontsize=10, fontweight="bold")
        handles, _ = grid[0].get_legend_handles_labels()
        hollow = Line2D(
            [], [], color=GREY, marker="o", linestyle="", fillstyle="none", label="two workers, GQ"
        )
        drawing.legend(handles=[*handles, hollow], loc="outside right upper")


def _draw_variant(axes: Axes, row: Row, label: str, color: str) -> None:
    mean, low, high = (row[f"test_accuracy_{key}"] for key in ("mean", "low", "high"))
    bars = None if low is None else [[100 * (mean - low)], [100 * (high - mean)]]
    sent, marker = row["compressed_bytes_per_step_mean"], MARKERS[row["role"]]
    name = plain(label)
    axes.errorbar(sent, 100 * mean, bars, fmt=marker, color=color, capsize=2.5, elinewidth=1, label=name)
    if row["workers_test_accuracy_mean"] is not None:
        axes.plot(sent, 100 * row["workers_test_accuracy_mean"], marker, color=color, fillstyle="none")
