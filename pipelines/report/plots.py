"""Interactive plots of the page: Vega-Lite charts by Altair, drawn as SVG by the library that vl-convert brings along.

Colours are CSS variables of the page, so a plot follows the reader's light or dark mode and the printer.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from pipelines.results import Row

SERIES = tuple(f"var(--series-{number})" for number in range(1, 9))
INK, SOFT, LINE = "var(--ink)", "var(--soft)", "var(--line)"
ACCENT, PLAIN_SUMS = SERIES[0], "var(--plain)"
HEIGHT = 220
"""Of a panel, in pixels."""
FEW_EPOCHS = 10
CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "titlePadding": 8,
        "aria": False,
    },
    "mark": {"aria": False},
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": SOFT},
    "legend": {"disable": True},
}


@dataclass(frozen=True)
class Panel:
    """One chart of a plot; panels stand side by side where the page is wide enough."""

    title: str
    spec: Mapping[str, Any]
    """Vega-Lite; its width is that of the panel."""


@dataclass(frozen=True)
class Plot:
    """Panels with one caption."""

    caption: str
    alt: str
    """What a reader who does not see it has to know."""
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, str]] = ()
    """Names and CSS colours, in the order of the series."""
    columns: int = 3
    """Panels in a row, at most."""


Chart = alt.Chart | alt.LayerChart | alt.FacetChart
"""What Altair makes of layers may be typed as any of them."""


def panel(title: str, chart: Chart, height: int = HEIGHT) -> Panel:
    """Return the chart as a panel of so many pixels in height, as wide as the page lets it be."""
    spec = chart.properties(
        width="container", height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    ).to_dict()
    spec.pop("config", None)
    return Panel(title, spec)


def rows_data(rows: Sequence[Row]) -> alt.InlineData:
    """Return rows as the data of a chart."""
    return alt.InlineData(values=list(rows))


def colored(field: str, names: Sequence[str]) -> alt.Color:
    """Return the colour of each of `names`, by the field that holds them."""
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(names), range=series_colors(names)))


def series_colors(names: Sequence[str]) -> list[str]:
    """Return one colour a name, starting anew after the last."""
    return [SERIES[index % len(SERIES)] for index in range(len(names))]


def legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the legend of series in the colours of `colored`."""
    return list(zip(names, series_colors(names), strict=True))


def epochs(rows: Sequence[Row]) -> alt.X:
    """Return the axis of the epochs of `rows`: a tick each where they are few."""
    last = int(max(row["epoch"] for row in rows))
    axis = (
        alt.Axis(values=list(range(1, last + 1)), format="d")
        if last <= FEW_EPOCHS
        else alt.Axis(tickMinStep=1)
    )
    return alt.X("epoch:Q", axis=axis)


@functools.cache
def plot_library() -> str:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed, of the version that Altair writes."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return bundle.replace("</script", "<\\/script")
