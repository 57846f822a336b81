"""Curves of the convergence runs."""

from pathlib import Path

from pipelines.figures import color_of, figure, label_plainly, line_style_of
from pipelines.results import Row

PANEL_WIDTH = 3.4  # inches
AXES = {"steps": "steps", "sent_megabytes": "MB sent by a worker", "seconds": "seconds"}
CURVES = {"train_loss": "training loss, first worker", "test_accuracy": "test accuracy"}


def draw_curves(rows: list[Row], path: Path) -> None:
    """Draw loss and accuracy against steps, bytes and (where measured) seconds, a line a method; writes `path`."""
    across = {key: label for key, label in AXES.items() if all(row[key] is not None for row in rows)}
    methods = list(dict.fromkeys(row["method"] for row in rows))
    with figure(path, PANEL_WIDTH * len(across), 1.7 * PANEL_WIDTH) as drawing:
        panels = drawing.subplots(len(CURVES), len(across), squeeze=False, sharey="row")
        for line, (value, title) in zip(panels, CURVES.items(), strict=True):
            for axis, (key, label) in zip(line, across.items(), strict=True):
                for index, method in enumerate(methods):
                    points = [(row[key], row[value]) for row in rows if row["method"] == method]
                    style = line_style_of(index)
                    axis.plot(
                        *zip(*points, strict=True), color=color_of(index), linestyle=style, label=method
                    )
                axis.set_xlabel(label)
                if key == "sent_megabytes":
                    axis.set_xscale("log")
                    label_plainly(axis.xaxis)
            line[0].set_ylabel(title)
        panels[0][0].set_yscale("log")
        label_plainly(panels[0][0].yaxis)
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=6)
