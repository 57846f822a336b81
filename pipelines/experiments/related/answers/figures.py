"""Figures of the systems: accuracy against the bytes that two workers hand over in a step."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.lines import Line2D

from pipelines.figures import GREY, color_of, figure, plain, scale_costs
from pipelines.results import Row

MARKERS = {"baseline": "s", "system": "o", "ablation": "^", "peer": "D"}


def draw_bytes(rows: Sequence[Row], path: Path) -> None:
    """Draw the mean test accuracy of each variant against its bytes a step under GQ; writes `path`.

    `rows`: one a variant; bars are the 95 % t interval over seeds, a hollow marker is the accuracy of the two workers
    under GQ.
    """
    shown = [row for row in rows if row["test_accuracy_mean"] is not None]
    with figure(path, 6.2, 3.6) as drawing:
        axes = drawing.add_subplot()
        for index, row in enumerate(shown):
            mean, low, high = (row[f"test_accuracy_{key}"] for key in ("mean", "low", "high"))
            bars = None if low is None else [[100 * (mean - low)], [100 * (high - mean)]]
            sent, color = row["compressed_bytes_per_step_mean"], color_of(index)
            marker = MARKERS[row["role"]]
            name = plain(row["variant"])
            axes.errorbar(
                sent, 100 * mean, yerr=bars, fmt=marker, color=color, capsize=2.5, elinewidth=1, label=name
            )
            if row["workers_test_accuracy_mean"] is not None:
                axes.plot(
                    sent, 100 * row["workers_test_accuracy_mean"], marker, color=color, fillstyle="none"
                )
        scale_costs(axes, [row["compressed_bytes_per_step_mean"] for row in shown])
        axes.set(xlabel="bytes a step under GQ", ylabel="test accuracy in %")
        axes.set_title("Accuracy against gradients sent")
        handles, _ = axes.get_legend_handles_labels()
        hollow = Line2D(
            [], [], color=GREY, marker="o", linestyle="", fillstyle="none", label="two workers, GQ"
        )
        drawing.legend(handles=[*handles, hollow], loc="outside right upper")
