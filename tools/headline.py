"""Draw docs/pictures/headline.svg from the committed results: `python -m tools.headline`.

Left: how many times faster than plain fp32 sums a training step with GQ is, by model and link, beside the fastest other
compressor and the limit (a step that exchanges nothing): reference/sweep/sweep.json. Right: what the accuracy loses,
with its 95 % interval: reference/convergence/parity.json.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from pipelines.figures import COLORS, GREY, figure, label_plainly
from tools.project_imports import ROOT

PICTURE = ROOT / "docs" / "pictures" / "headline.svg"
METHOD = "gq4_bucketed"
LINKS = {"100mbit": "100 Mbit/s", "1gbit": "1 Gbit/s", "unshaped": "unshaped"}
MODELS = {
    "densenet50": "DenseNet-50",
    "densenet100": "DenseNet-100",
    "densenet200": "DenseNet-200",
    "vgg16_bn": "VGG-16",
}
DATA = {"digits": "digits", "cifar10": "CIFAR-10"}
PEERS = ("powersgd", "topk", "dgc", "qsgd", "terngrad", "signsgd")
Rows = list[dict[str, Any]]


def read(name: str) -> Rows:
    """Return the rows of a committed file of results."""
    rows: Rows = json.loads((ROOT / "reference" / name).read_text())
    return rows


def speed_ups(sweep: Rows) -> list[tuple[str, str, float, float, float]]:
    """Return (model, link, GQ, fastest peer, limit) of every cell of two workers: times faster than plain sums."""
    step = {
        (row["model"], row["link"], row["method"]): row["step_seconds_median"]
        for row in sweep
        if row["workers"] <= 2
    }
    return [
        (
            model,
            link,
            step[model, link, "sdp"] / step[model, link, METHOD],
            step[model, link, "sdp"] / min(step[model, link, peer] for peer in PEERS),
            step[model, link, "sdp"] / step[model, link, "alone"],
        )
        for model in MODELS
        for link in LINKS
    ]


def draw_speed(axes: Axes, cells: Sequence[tuple[str, str, float, float, float]]) -> None:
    """Draw a bar a cell with the markers of the fastest peer and of the limit."""
    places = [index + index // len(LINKS) * 0.7 for index in range(len(cells))]
    times = [cell[2] for cell in cells]
    axes.barh(
        places,
        [value - 1 for value in times],
        left=1,
        height=0.75,
        color=COLORS[0],
        label="4-bit GQ",
        zorder=2,
    )
    axes.scatter(
        [cell[3] for cell in cells],
        places,
        marker="D",
        s=22,
        color=COLORS[1],
        zorder=4,
        label="fastest other compressor",
    )
    axes.scatter(
        [cell[4] for cell in cells],
        places,
        marker="|",
        s=110,
        color="black",
        zorder=3,
        label="limit: nothing exchanged",
    )
    for place, value in zip(places, times, strict=True):
        axes.text(0.93, place, f"{value:.2f}", ha="right", va="center", fontsize=8, color=COLORS[0])
    axes.set_yticks(places, [f"{MODELS[model]}, {LINKS[link]}" for model, link, *_ in cells])
    axes.set_xscale("log")
    axes.set_xlim(0.72, 50)
    label_plainly(axes.xaxis)
    axes.axvline(1, color=GREY, linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than plain fp32 sums, step of two workers")
    axes.set_title("Faster")
    axes.legend(loc="lower right")


def draw_accuracy(axes: Axes, parity: Rows) -> None:
    """Draw the difference of test accuracies with its interval, and the margin within which it counts as equal."""
    margin = parity[0]["margin_points"]
    axes.axvspan(-margin, margin, color="#e8efe6", zorder=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for place, row in enumerate(parity):
        low, high = row["difference_low_points"], row["difference_high_points"]
        axes.plot([low, high], [place, place], color=COLORS[0], linewidth=2.5, solid_capstyle="butt")
        axes.scatter([row["difference_points"]], [place], color=COLORS[0], s=34, zorder=3)
    axes.set_yticks(
        range(len(parity)),
        [
            f"{DATA[row['data']]}, {row['method'][2:].partition('_')[0]} bits\n{row['num_seeds']} seeds"
            for row in parity
        ],
    )
    axes.set_ylim(len(parity) - 0.4, -0.6)
    axes.set_xlim(-1.5 * margin, 1.5 * margin)
    axes.set_xlabel("points of test accuracy over plain sums")
    axes.set_title("At the same accuracy")
    axes.text(
        0, len(parity) - 0.5, f"band: equal within {margin:g} points", ha="center", color=GREY, fontsize=8
    )


def main(path: Path = PICTURE) -> None:
    """Write the picture."""
    with figure(path, 10.5, 4.6) as drawing:
        left, right = drawing.subplots(1, 2, width_ratios=[1.7, 1])
        draw_speed(left, speed_ups(read("sweep/sweep.json")))
        parity = [row for row in read("convergence/parity.json") if row["method"] in (METHOD, "gq8_bucketed")]
        draw_accuracy(right, parity)


if __name__ == "__main__":
    main()
