"""The headline picture: the speed-up of GQ over plain sums beside the difference of accuracy."""

import altair as alt

from pipelines.report.comparison import ACCURATE, LINK_NAMES, gains
from pipelines.report.inputs import Inputs
from pipelines.report.page import Section
from pipelines.report.plots import ACCENT, PLAIN_SUMS, Panel, Plot, colored, legend, panel, rows_data
from pipelines.results import Row


def section(inputs: Inputs) -> Section:
    """Show what is gained and what it costs."""
    sweep, _ = inputs.experiment("sweep/sweep.json")
    parity, _ = inputs.experiment("convergence/parity.json")
    panels, names = [], []
    found = [gain for gain in gains(sweep) if gain.low is not None]
    if found:
        names = [LINK_NAMES.get(link, link) for link in dict.fromkeys(gain.link for gain in found)]
        rows = [vars(gain) | {"link": LINK_NAMES.get(gain.link, gain.link)} for gain in found]
        panels.append(_speed_panel(rows, names))
    if parity:
        panels.append(_accuracy_panel(parity))
    paragraphs = [
        "The slower the network and the larger the model, the more there is to win.",
        *_cost(parity),
    ]
    if not panels:
        return Section("headline", "GQ against plain sums", ["Not run: make sweep and make convergence."])
    plot = Plot(
        "Left: how many times faster a step with 4-bit GQ is than one with plain fp32 sums, two workers, by link. "
        "Right: test accuracy of GQ minus that of plain sums; the band is the margin. Bars: 95 % intervals.",
        " ".join([*_speed_words(sweep), *_accuracy_words(parity)]),
        panels,
        legend(names),
        columns=2,
    )
    return Section("headline", "GQ against plain sums", paragraphs, plots=[plot])


def _cost(parity: list[Row]) -> list[str]:
    """Say what the right panel shows, in as many words as hold for it."""
    if not parity:
        return []
    inside = [
        max(-row["difference_low_points"], row["difference_high_points"]) <= row["margin_points"]
        for row in parity
    ]
    if all(inside):
        return ["The accuracy stays that of plain sums: every interval lies within the margin."]
    return [f"In accuracy, {sum(inside)} of {len(parity)} intervals lie within the margin."]


def _speed_panel(rows: list[Row], names: list[str]) -> Panel:
    highest = max(row["high"] for row in rows)
    scale = alt.Scale(type="log", domain=[0.8, 1.15 * highest], nice=False)
    ticks = [tick for tick in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24) if tick < 1.15 * highest]
    base = alt.Chart(rows_data(rows)).encode(
        y=alt.Y("model:N", title=None, sort=None, axis=alt.Axis(labelLimit=110)),
        yOffset=alt.YOffset("link:N", sort=names),
        color=colored("link", names),
    )
    bars = base.mark_rule(strokeWidth=4, opacity=0.45).encode(
        x=alt.X("low:Q", scale=scale, title="times faster than plain sums", axis=_axis(ticks)), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("ratio:Q", scale=scale),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("link:N"),
            alt.Tooltip("ratio:Q", title="times faster", format=".2f"),
            alt.Tooltip("low:Q", title="from", format=".2f"),
            alt.Tooltip("high:Q", title="to", format=".2f"),
        ],
    )
    even = alt.Chart(rows_data([{"even": 1}])).mark_rule(strokeDash=[4, 4], size=1.5, color=PLAIN_SUMS)
    return panel(
        "Speed-up of the step", alt.layer(even.encode(x=alt.X("even:Q", scale=scale)), bars, points), 260
    )


def _axis(ticks: list[float]) -> alt.Axis:
    return alt.Axis(values=ticks, labelExpr="format(datum.value, '~g') + '×'")


def _accuracy_panel(parity: list[Row]) -> Panel:
    rows = [
        {
            "name": f"{row['data']}, {str(ACCURATE.get(row['method'], row['method'])).removeprefix('GQ with ')}",
            "seeds": row["num_seeds"],
            **{key: row[f"difference{key}_points"] for key in ("", "_low", "_high")},
        }
        for row in parity
    ]
    rows = [
        {"difference": row.pop(""), "low": row.pop("_low"), "high": row.pop("_high"), **row} for row in rows
    ]
    margin = max(row["margin_points"] for row in parity)
    widest = max(margin, *(abs(row[end]) for row in rows for end in ("low", "high")))
    scale = alt.Scale(domain=[-1.4 * widest, 1.4 * widest], nice=False)
    band = alt.Chart(rows_data([{"low": -margin, "high": margin}])).mark_rect(color=PLAIN_SUMS, opacity=0.16)
    even = alt.Chart(rows_data([{"even": 0}])).mark_rule(strokeDash=[4, 4], size=1.5, color=PLAIN_SUMS)
    base = alt.Chart(rows_data(rows)).encode(
        y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=120))
    )
    title = "difference of test accuracy, points"
    ticks = alt.Axis(values=[-margin, 0, margin], format="~g")
    bars = base.mark_rule(strokeWidth=4, opacity=0.45, color=ACCENT).encode(
        x=alt.X("low:Q", scale=scale, title=title, axis=ticks), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=90, opacity=1, color=ACCENT).encode(
        x=alt.X("difference:Q", scale=scale),
        tooltip=[
            alt.Tooltip("name:N", title="data and width"),
            alt.Tooltip("difference:Q", title="points", format="+.2f"),
            alt.Tooltip("low:Q", title="from", format="+.2f"),
            alt.Tooltip("high:Q", title="to", format="+.2f"),
            alt.Tooltip("seeds:Q"),
        ],
    )
    layers = (
        band.encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        even.encode(x=alt.X("even:Q", scale=scale)),
    )
    return panel("Cost in accuracy", alt.layer(*layers, bars, points), 260)


def _speed_words(sweep: list[Row]) -> list[str]:
    return [
        f"{gain.model} on {LINK_NAMES.get(gain.link, gain.link)}: {gain.ratio:.2f} times faster."
        for gain in gains(sweep)
    ]


def _accuracy_words(parity: list[Row]) -> list[str]:
    return [
        f"{row['data']}, {ACCURATE.get(row['method'], row['method'])}: {row['difference_points']:+.2f} points, from "
        f"{row['difference_low_points']:+.2f} to {row['difference_high_points']:+.2f}."
        for row in parity
    ]
