"""Figures of the sweep."""

from pathlib import Path

from matplotlib.axes import Axes

from pipelines.experiments.sweep.rows import ALONE, ratio_to_reference
from pipelines.figures import GREY, color_of, figure
from pipelines.results import Row

PANEL_WIDTH = 3.2  # inches
BAR_HEIGHT = 0.24


def draw_steps(rows: list[Row], path: Path) -> None:
    """Horizontal bars of the step times, a panel per link (row) and model (column); writes `path`.

    A bar is the step of one worker alone plus the exposed communication that the method adds.
    """
    models, links = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "link"))
    num_bars = max(sum(r["model"] == m and r["link"] == k for r in rows) for m in models for k in links)
    height = len(links) * (0.8 + BAR_HEIGHT * num_bars)
    with figure(path, PANEL_WIDTH * len(models), height) as drawing:
        panels = drawing.subplots(len(links), len(models), squeeze=False)
        for line, link in zip(panels, links, strict=True):
            for axis, model in zip(line, models, strict=True):
                _draw_bars(axis, [row for row in rows if row["model"] == model and row["link"] == link])
                axis.set_title(f"{model}, {link}")
        for axis in panels[-1]:
            axis.set_xlabel("milliseconds per step (median)")
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _draw_bars(axis: Axes, rows: list[Row]) -> None:
    """Draw one panel."""
    alone = next(row["step_seconds_median"] for row in rows if row["method"] == ALONE)
    shown = [row for row in rows if row["method"] != ALONE]
    names = [row["method"] for row in shown]
    steps = [1e3 * row["step_seconds_median"] for row in shown]
    compute = [min(step, 1e3 * alone) for step in steps]
    exposed = [step - part for step, part in zip(steps, compute, strict=True)]
    axis.barh(names, compute, color=GREY, label="one worker's step")
    axis.barh(names, exposed, left=compute, color=color_of(0), label="added by the exchange")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    for position, step in enumerate(steps):
        axis.annotate(f" {step:.0f}", (step, position), va="center", fontsize="x-small")
    axis.set_xlim(0, 1.15 * max(steps))


def draw_acceleration(rows: list[Row], path: Path) -> None:
    """Step of sdp over step of each method against the bytes of a step, a panel a link; writes `path`."""
    links = list(dict.fromkeys(row["link"] for row in rows))
    methods = [m for m in dict.fromkeys(row["method"] for row in rows) if m != ALONE]
    markers = ("o", "s", "^", "D", "v", "P", "X")
    with figure(path, 1.2 * PANEL_WIDTH * len(links), 1.3 * PANEL_WIDTH) as drawing:
        panels = drawing.subplots(1, len(links), squeeze=False, sharey=True)[0]
        for axis, link in zip(panels, links, strict=True):
            for index, method in enumerate(methods):
                points = [
                    (row["wire_bytes_expected_per_step"] / 1e3, ratio_to_reference(row, rows))
                    for row in rows
                    if row["method"] == method and row["link"] == link
                ]
                marker = markers[index // 7 % len(markers)]
                axis.plot(*zip(*points, strict=True), marker, color=color_of(index), label=method)
            axis.axhline(1.0, color=GREY, linewidth=1, linestyle=":")
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_title(link)
            axis.set_xlabel("kB per step and worker")
        panels[0].set_ylabel("step of sdp over step of the method")
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=6)
