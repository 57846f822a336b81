"""Slower links and more workers: what is predicted from the runs of this machine."""

from collections.abc import Iterator, Sequence

import altair as alt

from pipelines.report.inputs import Inputs
from pipelines.report.page import Detail, Section
from pipelines.report.plots import PLAIN_SUMS, SOFT, Panel, Plot, colored, legend, panel, rows_data
from pipelines.report.tables import SPEEDUP
from pipelines.results import Row
from pipelines.tables import Column, make_table, times

MOST_TIMES = 10
"""A gain below it is written with a digit behind the point."""


def section(inputs: Inputs) -> Section:
    """Show predicted accelerations by link, simulated ones by number of workers, and the fastest method."""
    rows = [row | {"cell": f"{row['model']} {row['link']}"} for row in inputs.speedup]
    links = list(dict.fromkeys(row["link"] for row in rows))
    columns = (
        Column("model", "model"),
        Column("method", "method"),
        *(Column(link, _link_name(link), times, max) for link in links),
    )
    paragraphs = [
        "These steps are predicted, as the measured step of this run plus what the simulator says that the link adds, "
        "where the source does not say that they were measured.",
        _measured_cells(inputs.slow_link),
    ]
    return Section(
        "links",
        "Slower links, more workers",
        paragraphs,
        plots=[plot for plot in _plots(inputs, rows) if plot.panels],
        details=[
            Detail(
                "Acceleration over one worker, measured here and predicted",
                (),
                make_table(_pivot(rows), columns, "model"),
                "model",
            ),
            Detail(
                "Step, samples a second and time per epoch on every link",
                (),
                make_table(rows, SPEEDUP, "cell"),
                "model and link",
            ),
        ],
    )


def _measured_cells(found: Row) -> str:
    """Say which cells of a slow link were measured, or why none was."""
    cells = [
        f"{row['model']} {row['method']} on {row['link']}" for row in found["rows"] if row["workers"] > 1
    ]
    if not cells:
        return f"No slow link was measured here, all are predicted: {found['reason']}."
    return f"Measured on an emulated link: {', '.join(cells)}. The last table has the prediction beside it."


def _link_name(link: str) -> str:
    return "measured here" if link == "measured" else f"{link.removesuffix('mbit')} Mbit/s"


def _pivot(rows: Sequence[Row]) -> list[Row]:
    """Return a row a model and method, with the acceleration by link."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        cell = found.setdefault(
            (row["model"], row["method"]), {"model": row["model"], "method": row["method"]}
        )
        cell[row["link"]] = row["acceleration_ratio"]
    return list(found.values())


def _plots(inputs: Inputs, rows: Sequence[Row]) -> list[Plot]:
    predicted = [row for row in rows if row.get("link_mbit_per_second") is not None]
    methods = list(dict.fromkeys(row["method"] for row in predicted))
    scaling, crossover = inputs.scaling, inputs.crossover
    studied = list(dict.fromkeys(row["study_method"] for row in scaling))
    found = [_winner(row) for row in crossover]
    winners = list(dict.fromkeys(sorted(found, key=lambda name: name != "sdp")))
    return [
        Plot(
            "Acceleration over one worker against the bandwidth of the link: predicted, but for the points with a "
            "ring, which were measured.",
            "The table below holds all values.",
            list(_by_link(predicted, methods)),
            legend(methods),
        ),
        Plot(
            "Simulated acceleration against the number of workers, each with a core of its own for the library. "
            "Choose the bandwidth of a host below each picture. Dashed: as many times as there are workers.",
            "With more workers plain sums fall behind where the link is slow.",
            list(_by_workers(scaling, studied)),
            legend(studied),
        ),
        Plot(
            "Simulated: the method with the shortest step, and how many times faster than plain sums it is. Grey: "
            "plain sums, or no method that is faster for sure.",
            "Compression wins on the lower bandwidths; towards 100 Gbit/s plain sums win.",
            list(_fastest(crossover, winners)),
            [(name, color) for name, color in zip(winners, _winner_colors(winners), strict=True)],
        ),
    ]


def _by_link(rows: Sequence[Row], methods: Sequence[str]) -> Iterator[Panel]:
    links = sorted({row["link_mbit_per_second"] for row in rows})
    for model in dict.fromkeys(row["model"] for row in rows):
        keys = ("method", "link_mbit_per_second", "acceleration_ratio", "source")
        mine = [{key: row[key] for key in keys} for row in rows if row["model"] == model]
        x = alt.X(
            "link_mbit_per_second:Q",
            scale=alt.Scale(type="log", nice=False, padding=12),
            title="Mbit/s",
            axis=alt.Axis(values=links, format="~s"),
        )
        tooltip = [
            "method:N",
            alt.Tooltip("link_mbit_per_second:Q", title="Mbit/s", format=","),
            alt.Tooltip("acceleration_ratio:Q", title="acceleration", format=".2f"),
            "source:N",
        ]
        measured = (
            alt.Chart(rows_data([row for row in mine if row["source"] == "measured"]))
            .mark_point(size=160, filled=False, strokeWidth=2)
            .encode(x=x, y="acceleration_ratio:Q", color=colored("method", methods), tooltip=tooltip)
        )
        lines = (
            alt.Chart(rows_data(mine))
            .mark_line(point=alt.OverlayMarkDef(size=45), strokeWidth=2)
            .encode(
                x=x,
                y=alt.Y("acceleration_ratio:Q", title="acceleration"),
                color=colored("method", methods),
                tooltip=tooltip,
            )
        )
        one = (
            alt.Chart(rows_data([{"one": 1}]))
            .mark_rule(strokeDash=[4, 4], color=PLAIN_SUMS)
            .encode(y="one:Q")
        )
        layers = [one, lines, measured] if any(row["source"] == "measured" for row in mine) else [one, lines]
        yield panel(model, alt.layer(*layers))


def _by_workers(rows: Sequence[Row], studied: Sequence[str]) -> Iterator[Panel]:
    links = sorted({row["link_mbit_per_second"] for row in rows})
    labels = [f"{link:g} Mbit/s" for link in links]
    for number, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
        keys = ("study_method", "method", "workers", "link_mbit_per_second", "acceleration_ratio")
        mine = [{key: row[key] for key in keys} for row in rows if row["model"] == model]
        # Names of parameters are those of the whole page: one a panel.
        name = f"link{number}"
        choice = alt.param(
            name, value=links[0], bind=alt.binding_select(options=links, labels=labels, name="Bandwidth: ")
        )
        axis = alt.Axis(values=[1, 4, 16, 64, 256, 1024], format="~g")
        x = alt.X("workers:Q", scale=alt.Scale(type="log", base=2), title="workers", axis=axis)
        y = alt.Y(
            "acceleration_ratio:Q", scale=alt.Scale(type="log", base=2), title="acceleration", axis=axis
        )
        tooltip = [
            "study_method:N",
            "method:N",
            "workers:Q",
            alt.Tooltip("acceleration_ratio:Q", title="acceleration", format=".1f"),
        ]
        base = alt.Chart(rows_data(mine)).transform_filter(f"datum.link_mbit_per_second == {name}")
        lines = base.mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=2).encode(
            x=x, y=y, color=colored("study_method", studied), tooltip=tooltip
        )
        ideal = alt.Chart(rows_data([{"n": 1}, {"n": 1024}])).mark_line(
            strokeDash=[4, 4], color=SOFT, strokeWidth=1
        )
        yield panel(
            model,
            alt.layer(
                ideal.encode(x=alt.X("n:Q", title="workers"), y=alt.Y("n:Q", title="acceleration")), lines
            ).add_params(choice),
        )


def _winner(row: Row) -> str:
    gain = row["acceleration_over_reference"] - 1
    return str(row["method"]) if gain > row["uncertainty"] else "sdp"


def _winner_colors(winners: Sequence[str]) -> list[str]:
    others = iter(color for _, color in legend([name for name in winners if name != "sdp"]))
    return [PLAIN_SUMS if name == "sdp" else next(others) for name in winners]


def _fastest(rows: Sequence[Row], winners: Sequence[str]) -> Iterator[Panel]:
    color = alt.Color("winner:N", scale=alt.Scale(domain=list(winners), range=_winner_colors(winners)))
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [
            {
                "workers": row["workers"],
                "mbit": row["link_mbit_per_second"],
                "winner": _winner(row),
                "method": row["method"],
                "gain": row["acceleration_over_reference"],
                "text": f"{row['acceleration_over_reference']:.1f}"
                if row["acceleration_over_reference"] < MOST_TIMES
                else f"{row['acceleration_over_reference']:.0f}",
            }
            for row in rows
            if row["model"] == model
        ]
        base = alt.Chart(rows_data(mine)).encode(
            x=alt.X("workers:O", axis=alt.Axis(labelAngle=-45)),
            y=alt.Y("mbit:O", sort="descending", title="Mbit/s", axis=alt.Axis(format="~s")),
            tooltip=[
                "workers:O",
                alt.Tooltip("mbit:O", title="Mbit/s"),
                "method:N",
                alt.Tooltip("gain:Q", title="times faster", format=".2f"),
            ],
        )
        cells = base.mark_rect(opacity=0.4).encode(color=color)
        yield panel(model, alt.layer(cells, base.mark_text(fontSize=10).encode(text="text:N")), 260)
