"""One look for all figures: colours, fonts and how a picture is written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, LogLocator, NullLocator

# Okabe and Ito, "Color Universal Design", 2008: tells apart under colour-blindness; black comes last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")
GREY = "#6b6b6b"
PLAIN = "{x:g}"
"""Format of numbers on an axis as they are, without powers of ten."""
LOG_RATIO = 10
"""Costs that span more than this ratio go on a logarithmic axis; on a shorter one it would have few numbers."""
WIDE_RATIO = 100
"""Beyond it an axis has no room for more than one label a decade."""

_STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    # Text stays text, and ids do not change from run to run: the same data give the same .svg.
    "svg.fonttype": "none",
    "svg.hashsalt": "gqbench",
}


def plain(text: str) -> str:
    """Return a name from a user for a figure as it is: a `$` would start a formula."""
    return text.replace("$", r"\$")


@contextmanager
def figure(path: Path, width_inches: float, height_inches: float) -> Iterator[Figure]:
    """Yield an empty figure in the common style and write it to `path` (its suffix is the format) at the end.

    Uses no pyplot, so no global state and no window system. The same drawing gives the same bytes.
    """
    with matplotlib.rc_context(_STYLE):
        drawing = Figure(figsize=(width_inches, height_inches), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing
        path.parent.mkdir(parents=True, exist_ok=True)
        # Neither date nor library version in the file.
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        drawing.savefig(path, metadata=metadata)


def color_of(index: int) -> str:
    """Return the colour of the series number `index`, starting anew after the last."""
    return COLORS[index % len(COLORS)]


def line_style_of(index: int) -> str:
    """Return the line style of series number `index`: it changes each time the colours start anew."""
    return LINE_STYLES[index // len(COLORS) % len(LINE_STYLES)]


def scale_costs(axes: Axes, costs: Sequence[float]) -> None:
    """Make the x axis of parameters or seconds fit: logarithmic where they span decades, else from 0 on."""
    if max(costs) > LOG_RATIO * min(costs):
        axes.set_xscale("log")
        wide = max(costs) > WIDE_RATIO * min(costs)
        label_plainly(axes.xaxis, EngFormatter(sep=""), (1,) if wide else (1, 2, 5))
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def label_plainly(axis: Axis, formatter: Formatter | str = PLAIN, places: Sequence[int] = (1, 2, 5)) -> None:
    """Label `places` of every decade of a logarithmic axis, without powers of ten."""
    axis.set_major_locator(LogLocator(subs=places))
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())
