"""Pictures of searches and of what they have found."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pipelines.figures import GREY, color_of, figure, plain
from pipelines.models.searched.diagram import Diagram
from pipelines.results import Row

BOX_WIDTH, BOX_HEIGHT, GAP = 3.0, 0.28, 0.16
"""In inches, as the axes of a network are."""


def draw_search(rows: Sequence[Row], path: Path) -> None:
    """Draw best and mean accuracy by generation against the networks judged; writes `path`.

    `rows`: one a generation, seed and variant (experiment `search`); a seed is a line.
    """
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    with figure(path, 6.2, 3.6) as drawing:
        axes = drawing.add_subplot()
        for index, variant in enumerate(variants):
            mine = [row for row in rows if row["variant"] == variant]
            for seed in dict.fromkeys(row["seed"] for row in mine):
                line = [row for row in mine if row["seed"] == seed]
                judged = [row["num_evaluations"] for row in line]
                color = color_of(index)
                axes.plot(judged, [100 * row["best_accuracy"] for row in line], color=color, linewidth=1.2)
                means = [100 * row["mean_accuracy"] for row in line]
                axes.plot(judged, means, ":", color=color, marker=".", linewidth=0.8, alpha=0.6)
        axes.set(xlabel="different networks judged", ylabel="accuracy of the validation part in %")
        axes.set_title("Searches: best so far and mean of a generation")
        handles = [Line2D([], [], color=color_of(i), label=plain(name)) for i, name in enumerate(variants)]
        handles.append(Line2D([], [], color=GREY, linewidth=1.2, label="best so far, a line a seed"))
        handles.append(Line2D([], [], color=GREY, linestyle=":", marker=".", label="mean of a generation"))
        drawing.legend(handles=handles, loc="outside right upper")


def draw_network(diagram: Diagram, title: str, path: Path) -> None:
    """Draw a network from top to bottom, shortcuts as arcs to the right; writes `path`."""
    step = BOX_HEIGHT + GAP
    height = step * len(diagram.boxes)
    longest = max((end - start for start, end in diagram.shortcuts), default=0)
    width = BOX_WIDTH + 0.4 + min(2.5, 0.25 * longest)
    with figure(path, width, height + 0.3) as drawing:
        axes = drawing.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(-BOX_WIDTH / 2 - 0.1, width - BOX_WIDTH / 2 - 0.1)
        axes.set_ylim(-height, step / 2)
        axes.set_title(plain(title))
        for place, text in enumerate(diagram.boxes):
            box = FancyBboxPatch(
                (-BOX_WIDTH / 2, -place * step - BOX_HEIGHT / 2),
                BOX_WIDTH,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor="#e4f1e1" if 0 < place < len(diagram.boxes) - 1 else "#f3ead7",
                edgecolor=GREY,
                linewidth=0.8,
            )
            axes.add_patch(box)
            axes.text(0, -place * step, plain(text), ha="center", va="center", fontsize=8)
            if place > 0:
                ends = (0.0, -(place - 1) * step - BOX_HEIGHT / 2), (0.0, -place * step + BOX_HEIGHT / 2)
                axes.add_patch(
                    FancyArrowPatch(
                        *ends, arrowstyle="-|>", mutation_scale=7, color=GREY, shrinkA=0, shrinkB=0
                    )
                )
        for start, end in diagram.shortcuts:
            ends = (BOX_WIDTH / 2, -start * step), (BOX_WIDTH / 2, -end * step)
            bend = -min(0.6, 0.25 + 0.06 * (end - start))
            axes.add_patch(
                FancyArrowPatch(
                    *ends,
                    connectionstyle=f"arc3,rad={bend}",
                    arrowstyle="-|>",
                    mutation_scale=7,
                    color=color_of(start),
                    linewidth=0.9,
                    shrinkA=0,
                    shrinkB=0,
                )
            )
