"""The explorer: the predicted step of every strategy on the reader's network, with what was measured."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.report.grid import read_grid
from pipelines.report.inputs import Inputs, whose
from pipelines.report.page import Section
from pipelines.report.plots import INK, PLAIN_SUMS, SERIES, Panel, panel
from pipelines.results import Row

FAMILIES = {
    "plain sums": PLAIN_SUMS,
    "GQ": SERIES[0],
    "other compression": SERIES[1],
    "late or local updates": SERIES[3],
}
START = {"model": "vgg16_bn", "workers": 2, "bandwidth": 100, "latency": 25}
"""What is chosen at first: a point that was measured."""
UNSHAPED_MBIT = 25_000
"""Grid point that stands for the link that is not shaped, whose fitted bandwidth is 20.5 Gbit/s."""


def section(inputs: Inputs) -> Section:
    """Return the controls, the plots that follow them and the data behind."""
    grid = read_grid()
    sweep, committed = inputs.experiment("sweep/sweep.json")
    keys = (
        "workers",
        "bandwidths_mbit",
        "latencies_microseconds",
        "one_worker_ms",
        "batch_size",
        "impossible",
    )
    methods = {name: {**facts, "family": family_of(facts)} for name, facts in grid["methods"].items()}
    data = {
        **{key: grid[key] for key in keys},
        "steps": grid["steps"],
        "methods": methods,
        "measured": measured_points(sweep),
        "start": START if START["model"] in grid["steps"] else {**START, "model": next(iter(grid["steps"]))},
        "families": list(FAMILIES),
        "panels": {"steps": _steps_panel().spec, "links": _links_panel().spec},
    }
    paragraphs = [
        "Choose a model and a network. The page shows the predicted step of every strategy.",
    ]
    return Section(
        "explorer",
        "What does it mean for my network?",
        paragraphs,
        widget="explorer",
        data=data | {"legend": list(FAMILIES.items()), "origin": whose(committed, "make sweep")},
    )


def family_of(facts: dict[str, Any]) -> str:
    """Return the family of a method, by its strategy and whether it updates as plain sums do."""
    if not facts["same_updates"]:
        return "late or local updates"
    if facts["strategy"] == "sdp":
        return "plain sums"
    return "GQ" if facts["strategy"].startswith("gq") or facts["strategy"] == "auto" else "other compression"


def measured_points(sweep: Sequence[Row]) -> list[list[Any]]:
    """Return model, method, workers, bandwidth (Mbit/s), step (ms) and shared cores of every measured step."""
    return [
        [
            row["model"],
            row["method"],
            row["workers"],
            UNSHAPED_MBIT if row["link"] == UNSHAPED else parse_rate(row["link"]) / 1e6,
            float(f"{1e3 * row['step_seconds_median']:.4g}"),
            bool(row["oversubscribed"]),
        ]
        for row in sweep
        if row["workers"] > 1
    ]


def _steps_panel() -> Panel:
    """Draw bars of predicted steps, their uncertainty, and diamonds of measured ones."""
    data = alt.NamedData(name="points")
    y = alt.Y("method:N", sort=None, title=None, axis=alt.Axis(labelLimit=120, labelFontSize=12))
    color = alt.Color("family:N", scale=alt.Scale(domain=list(FAMILIES), range=list(FAMILIES.values())))
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("description:N", title="what it does"),
        alt.Tooltip("step:Q", title="predicted, ms", format=",.1f"),
        alt.Tooltip("low:Q", title="from", format=",.1f"),
        alt.Tooltip("high:Q", title="to", format=",.1f"),
        alt.Tooltip("measured:Q", title="measured, ms", format=",.1f"),
        alt.Tooltip("gain:Q", title="over plain sums", format=".2f"),
    ]
    base = alt.Chart(data).encode(y=y, tooltip=tooltip)
    bars = base.mark_bar(height={"band": 0.72}).encode(
        x=alt.X("step:Q", title="milliseconds a step", axis=alt.Axis(tickCount=5)), color=color
    )
    errors = base.mark_rule(color=INK, size=1.5, opacity=0.75).encode(x="low:Q", x2="high:Q")
    known = alt.datum.measured != None  # noqa: E711 - an expression of the chart
    measured = (
        base.transform_filter(known)
        .mark_point(
            shape="diamond",
            filled=True,
            size=110,
            color=INK,
            stroke="var(--page)",
            strokeWidth=1.5,
            opacity=1,
        )
        .encode(x="measured:Q")
    )
    return panel("Predicted step of every strategy", alt.layer(bars, errors, measured), 460)


def _links_panel() -> Panel:
    """Draw how many times faster than plain sums the fastest of each family is, against the bandwidth."""
    names = [name for name in FAMILIES if name != "plain sums"]
    color = alt.Color("family:N", scale=alt.Scale(domain=names, range=[FAMILIES[name] for name in names]))
    x = alt.X(
        "bandwidth:Q",
        scale=alt.Scale(type="log", nice=False),
        title="bandwidth of a host, Mbit/s",
        axis=alt.Axis(values=[10, 100, 1000, 10000, 100000], format="~s"),
    )
    y = alt.Y(
        "gain:Q",
        scale=alt.Scale(type="log", nice=False),
        title="times faster than plain sums",
        axis=alt.Axis(format="~g", tickCount=6),
    )
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("link:N", title="bandwidth"),
        alt.Tooltip("gain:Q", title="times faster", format=".2f"),
    ]
    base = alt.Chart(alt.NamedData(name="curves")).encode(x=x, y=y, color=color, tooltip=tooltip)
    even = alt.Chart(alt.NamedData(name="chosen"))
    return panel(
        "Where it begins to pay",
        alt.layer(
            even.mark_rule(strokeDash=[4, 4], color=PLAIN_SUMS, size=1.5).encode(y="even:Q"),
            even.mark_rule(color=INK, size=1, opacity=0.6).encode(x="bandwidth:Q"),
            base.mark_line(strokeWidth=2.5),
            base.mark_point(filled=True, size=45, opacity=1),
        ),
        460,
    )
