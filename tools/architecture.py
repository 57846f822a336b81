"""Draw docs/architecture.svg from the code: `make picture`.

Each box is a package with the first sentence of its docstring, in the layer that it belongs to. A new package that
stands in no layer below ends the drawing with an error, so the picture cannot fall behind.
"""

import argparse
import ast
import sys
import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from pipelines.config import load_yaml
from pipelines.figures import figure
from tools.project_imports import ROOT

PICTURE = ROOT / "docs/architecture.svg"
WIDTH = 14.0
HEIGHT = 11.4
MARGIN = 0.25
TEXT_LINE = 0.16  # inches, 8 points at 1.35 lines
COLORS = {"commands": "#f3ead7", "stages": "#dcebf7", "pipelines": "#e4f1e1", "plugin": "#f7dfd8"}

# Rows of the library, from what stages call down to what everything uses.
ROWS = (
    ("experiments", "speedup"),
    ("report", "compare", "preflight", "search"),
    ("training", "evaluation", "inference", "codec", "cluster"),
    ("parallel",),
    ("data", "models", "tracking", "config", "results"),
)
INSIDE = {"experiments", "parallel", "speedup", "data"}
"""Packages whose own packages are named in their boxes."""


def first_sentence(package: Path) -> str:
    """Return the first sentence of a package's docstring, without the point at its end."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].split("; ")[0].rstrip(".")


def packages_in(folder: Path) -> list[Path]:
    """Return the packages directly in `folder`, by name."""
    return sorted(path.parent for path in folder.glob("*/__init__.py"))


def missing() -> set[str]:
    """Return the packages of the library that stand in no row."""
    return {package.name for package in packages_in(ROOT / "pipelines")} - {
        name for row in ROWS for name in row
    }


class Canvas:
    """Boxes from top to bottom, on axes whose unit is an inch."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.top = 0.0

    def box(self, x: float, width: float, height: float, title: str, body: str, color: str) -> None:
        """Draw a box at the present height: a bold title and wrapped text."""
        patch = FancyBboxPatch(
            (x, self.top - height),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=color,
            edgecolor="#7a7a7a",
            linewidth=0.8,
        )
        self.axes.add_patch(patch)
        self.axes.text(x + 0.1, self.top - 0.1, title, va="top", fontsize=10, fontweight="bold")
        self.axes.text(x + 0.1, self.top - 0.34, body, va="top", fontsize=8, linespacing=1.35)

    def row(self, boxes: list[tuple[str, str]], color: str, label: str = "") -> None:
        """Draw boxes of equal width side by side and go down by the tallest."""
        if label:
            self.axes.text(MARGIN, self.top - 0.05, label, va="top", fontsize=11, color="#444444")
            self.top -= 0.3
        width = (WIDTH - MARGIN * (len(boxes) + 1)) / len(boxes)
        bodies = [wrapped(body, width) for _, body in boxes]
        height = 0.5 + TEXT_LINE * max(body.count("\n") + 1 for body in bodies)
        for index, ((title, _), body) in enumerate(zip(boxes, bodies, strict=True)):
            self.box(MARGIN + index * (width + MARGIN), width, height, title, body, color)
        self.top -= height + MARGIN

    def arrow(self, text: str) -> None:
        """Draw a downward arrow with a word beside it."""
        self.axes.annotate(
            "", (WIDTH / 2, self.top - 0.2), (WIDTH / 2, self.top + 0.15), arrowprops={"arrowstyle": "-|>"}
        )
        self.axes.text(WIDTH / 2 + 0.15, self.top - 0.03, text, va="center", fontsize=8, style="italic")
        self.top -= 0.3


def wrapped(text: str, width: float) -> str:
    """Wrap each line of `text` to a box of `width` inches at the font size of boxes."""
    columns = int(width * 15)
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, columns))


def dag(path: Path) -> str:
    """Return the stages of a dvc.yaml, in the order in which they stand there."""
    names = [str(name) for name in load_yaml(path)["stages"]]
    return " · ".join(names)


def library_box(name: str) -> tuple[str, str]:
    """Return title and text of a package's box, with its own packages where they matter."""
    folder = ROOT / "pipelines" / name
    text = first_sentence(folder)
    if name in INSIDE:
        text += "\n" + "\n".join(f"• {inner.name}/ {first_sentence(inner)}" for inner in packages_in(folder))
    return f"{name}/", text


def draw(path: Path) -> None:
    """Write the picture to `path`; the same code gives the same bytes."""
    if unplaced := missing():
        raise SystemExit(f"tools/architecture.py: name a row of ROWS for {', '.join(sorted(unplaced))}")
    experiments = sorted(file.parent.name for file in ROOT.glob("experiments/*/dvc.yaml"))
    with figure(path, WIDTH, HEIGHT) as drawing:
        axes = drawing.subplots()
        axes.set_axis_off()
        canvas = Canvas(axes)
        results = [(f"make {name}", f"experiments/{name}, writes results/{name}") for name in experiments]
        commands = [("make repro", "dvc.yaml, writes results/"), *results]
        commands.append(("make compare", "results/ beside reference/"))
        canvas.row(commands, COLORS["commands"], "commands")
        canvas.arrow("dvc runs one module of stages/ a stage")
        stages = [("stages/", dag(ROOT / "dvc.yaml"))]
        stages += [(f"stages/{name}/", dag(ROOT / f"experiments/{name}/dvc.yaml")) for name in experiments]
        canvas.row(stages, COLORS["stages"], "stages: a command line each, and nothing else")
        canvas.arrow("imports point down only")
        for index, row in enumerate(ROWS):
            label = "pipelines: the library" if index == 0 else ""
            canvas.row([library_box(name) for name in row], COLORS["pipelines"], label)
        canvas.arrow("knows neither of the others; installs on its own")
        plugin = first_sentence(ROOT / "horovod_gq")
        canvas.row([("horovod_gq/", plugin)], COLORS["plugin"], "the plugin")
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(canvas.top, 0.1)


def main() -> None:
    """Draw the picture, or with --check end with status 1 where the committed one is stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.architecture", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; status 1 where the picture is stale"
    )
    if not parser.parse_args().check:
        draw(PICTURE)
        return
    new = PICTURE.with_name("architecture.new.svg")
    draw(new)
    stale = new.read_bytes() != PICTURE.read_bytes()
    new.unlink()
    if stale:
        print("docs/architecture.svg is stale; run make picture")
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
