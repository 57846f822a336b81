"""Figures of the simulated rows: scaling with the workers, crossover maps, and how predictions compare with steps."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.figures import COLORS, GREY, color_of, figure, label_plainly
from pipelines.results import Row
from pipelines.speedup.scaling import STUDY_METHODS

PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.9  # inches
WORKER_TICKS = (1, 4, 16, 64, 256, 1024)
BOTTLENECK = 0.5
"""Share of linear speed-up below which a worker waits for longer than it computes."""
PALETTE = (
    "#bdbdbd",
    *COLORS[:6],
    "#8c6bb1",
    "#a6761d",
    "#f4a6a0",
    "#b3de69",
    "#80cdc1",
    "#ffed6f",
    "#d9a0d9",
)
"""As many colours as a crossover map may need, grey for the first; text is legible on all of them."""
CLOSE = 0.15


def draw_scaling(rows: Sequence[Row], measured: Sequence[Row], value: str, label: str, path: Path) -> None:
    """Draw `value` against the number of workers, a row of panels a link and a column a model; writes `path`.

    `rows` are simulated, drawn as lines. `measured` are runs on a link that was not shaped, drawn as points in every
    panel of their model: no simulated link may be much better. A dotted line is linear speed-up where `value` is the
    acceleration ratio, and the grey band is where a worker waits for longer than it computes.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    links = list(dict.fromkeys(row["link"] for row in rows))
    width, height = PANEL_WIDTH * len(models), PANEL_HEIGHT * len(links)
    with figure(path, width, height) as drawing:
        panels = drawing.subplots(len(links), len(models), squeeze=False, sharex=True, sharey="row")
        for line, link in zip(panels, links, strict=True):
            for axis, model in zip(line, models, strict=True):
                mine = [row for row in rows if row["model"] == model and row["link"] == link]
                _draw_lines(axis, mine, value)
                _draw_points(axis, [row for row in measured if row["model"] == model], mine, value)
                axis.set_title(f"{model}, {link}")
            line[0].set_ylabel(label)
            values = [row[value] for row in rows if row["link"] == link]
            line[0].set_ylim(min(values) / 1.5, max(values) * 1.5)
        for axis in panels[-1]:
            axis.set_xlabel("workers")
        handles, labels = panels[0][0].get_legend_handles_labels()
        handles.append(Line2D([], [], color=GREY, marker="o", linestyle="", markerfacecolor="none"))
        labels.append("measured, 2 workers, link not shaped")
        drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _draw_lines(axis: Axes, rows: Sequence[Row], value: str) -> None:
    workers = sorted({row["workers"] for row in rows})
    if value == "acceleration_ratio":
        axis.plot(workers, workers, color=GREY, linewidth=1, linestyle=":", label="linear")
        axis.fill_between(workers, [BOTTLENECK * number for number in workers], 1e-3, color=GREY, alpha=0.08)
    for index, name in enumerate(dict.fromkeys(row["study_method"] for row in rows)):
        mine = sorted((row["workers"], row[value]) for row in rows if row["study_method"] == name)
        axis.plot(*zip(*mine, strict=True), color=color_of(index), label=f"{name}, simulated")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(WORKER_TICKS, [str(tick) for tick in WORKER_TICKS])
    axis.minorticks_off()
    label_plainly(axis.yaxis)


def _draw_points(axis: Axes, measured: Sequence[Row], rows: Sequence[Row], value: str) -> None:
    """Draw the measured runs of those methods that the lines show, each in its line's colour, hollow."""
    for index, name in enumerate(dict.fromkeys(row["study_method"] for row in rows)):
        for row in measured:
            if row["method"] in STUDY_METHODS[name]:
                axis.plot(
                    row["workers"], row[value], marker="o", color=color_of(index), markerfacecolor="none"
                )


def draw_crossover(rows: Sequence[Row], path: Path) -> None:
    """Draw which method has the shortest simulated step, by bandwidth and workers, a panel a model; writes `path`.

    The number in a cell says how many times faster than `sdp` that is. Where this is within the predictions' error,
    the cell counts as `sdp`'s.
    """
    rows = [{**row, "method": _winner(row)} for row in rows]
    models = list(dict.fromkeys(row["model"] for row in rows))
    methods = ["sdp", *sorted({row["method"] for row in rows} - {"sdp"})]
    colors = ListedColormap(PALETTE[: len(methods)])
    with figure(path, 1.25 * PANEL_WIDTH * len(models), 1.3 * PANEL_HEIGHT) as drawing:
        panels = drawing.subplots(1, len(models), squeeze=False, sharey=True)[0]
        for axis, model in zip(panels, models, strict=True):
            _draw_map(axis, [row for row in rows if row["model"] == model], methods, colors)
            axis.set_title(model)
            axis.set_xlabel("workers")
        panels[0].set_ylabel("bandwidth of a host, Mbit/s")
        names = ["sdp, or no method that is faster for sure", *methods[1:]]
        handles = [Patch(color=colors(number), label=name) for number, name in enumerate(names)]
        drawing.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7))


def _winner(row: Row) -> str:
    gain = row["acceleration_over_reference"] - 1
    return str(row["method"]) if gain > row["uncertainty"] else "sdp"


def _draw_map(axis: Axes, rows: Sequence[Row], methods: Sequence[str], colors: ListedColormap) -> None:
    workers = sorted({row["workers"] for row in rows})
    links = sorted({row["link_mbit_per_second"] for row in rows})
    winners = np.zeros((len(links), len(workers)))
    for row in rows:
        x, y = workers.index(row["workers"]), links.index(row["link_mbit_per_second"])
        winners[y, x] = methods.index(row["method"])
        gain = row["acceleration_over_reference"]
        axis.text(
            x, y, f"{gain:.1f}" if gain < 9.95 else f"{gain:.0f}", ha="center", va="center", fontsize=6.5
        )
    axis.imshow(
        winners, origin="lower", aspect="auto", cmap=colors, vmin=-0.5, vmax=len(methods) - 0.5, alpha=0.55
    )
    axis.set_xticks(range(len(workers)), [str(number) for number in workers], rotation=45)
    axis.set_yticks(range(len(links)), [f"{link:g}" for link in links])
    axis.grid(False)


def draw_validation(rows: Sequence[Row], path: Path) -> None:
    """Draw predicted against measured steps of cells that were not used for fitting, a panel a fold; writes `path`.

    `rows` as `Calibration.validation`. The band is an error of 15 %. Cells with more threads than cores are hollow.
    """
    folds = list(dict.fromkeys(row["left_out"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    with figure(path, 1.15 * PANEL_WIDTH * len(folds), 1.45 * PANEL_HEIGHT) as drawing:
        panels = drawing.subplots(1, len(folds), squeeze=False, sharey=True)[0]
        for axis, fold in zip(panels, folds, strict=True):
            mine = [row for row in rows if row["left_out"] == fold]
            _draw_fold(axis, mine, methods)
            axis.set_title(_fold_title(fold, mine), fontsize=9)
            axis.set_xlabel("measured step, ms")
        panels[0].set_ylabel("predicted step, ms")
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=6)


def _fold_title(fold: str, rows: Sequence[Row]) -> str:
    """Say what the fit had not seen, and the mean error: apart where workers fill the cores."""
    parts = []
    for crowded in (False, True):
        mine = [row for row in rows if row["oversubscribed"] == crowded]
        errors = [abs(row["predicted_seconds"] / row["measured_seconds"] - 1) for row in mine]
        if errors:
            parts.append(f"{np.mean(errors):.1%}{' with full cores' if crowded else ''}")
    left_out = f"a {fold} left out" if fold != "workers" else "more workers"
    return f"{left_out}: {', '.join(parts)}"


def _draw_fold(axis: Axes, rows: Sequence[Row], methods: Sequence[str]) -> None:
    markers = "os^Dv"
    for (index, method), crowded in product(enumerate(methods), (False, True)):
        mine = [row for row in rows if row["method"] == method and row["oversubscribed"] == crowded]
        if not mine:
            continue
        axis.plot(
            [1e3 * row["measured_seconds"] for row in mine],
            [1e3 * row["predicted_seconds"] for row in mine],
            linestyle="",
            marker=markers[index // len(COLORS) % len(markers)],
            markersize=4,
            color=color_of(index),
            markerfacecolor="none" if crowded else color_of(index),
            label=method,
        )
    ends = np.array([30.0, 1e4])
    axis.plot(ends, ends, color=GREY, linewidth=1, linestyle=":")
    axis.fill_between(ends, (1 - CLOSE) * ends, (1 + CLOSE) * ends, color=GREY, alpha=0.12)
    axis.set_xscale("log")
    axis.set_yscale("log")
    label_plainly(axis.xaxis)
    label_plainly(axis.yaxis)
