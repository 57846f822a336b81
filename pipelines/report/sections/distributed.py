"""The parallel runs on this machine: steps and their parts, bytes, loss and accuracy."""

from collections.abc import Iterator, Sequence

import altair as alt

from pipelines.report.inputs import Inputs
from pipelines.report.page import Detail, Section
from pipelines.report.plots import INK, SERIES, Chart, Panel, Plot, colored, epochs, legend, panel, rows_data
from pipelines.report.tables import DISTRIBUTED, DISTRIBUTED_SHORT
from pipelines.results import Row
from pipelines.tables import make_table, milliseconds, times

PARTS = ("compute", "encode", "communication", "decode")


def section(inputs: Inputs) -> Section:
    """Show what was measured here, where the network is memory."""
    rows = inputs.distributed
    workers = " and ".join(str(number) for number in sorted({row["workers"] for row in rows}))
    measured = [row for row in inputs.speedup if row["link_mbit_per_second"] is None]
    ratios = {(row["model"], row["method"]): row.get("acceleration_ratio") for row in measured}
    shown = [row | {"acceleration_ratio": ratios.get((row["model"], row["method"]))} for row in rows]
    paragraphs = [
        f"Real Horovod runs with {workers} workers from the same initial weights. On one machine the network is "
        "memory: compression has little to win here. The next section is about slower links.",
        " ".join(_fastest(measured)),
    ]
    return Section(
        "distributed",
        "Parallel training",
        paragraphs,
        make_table(shown, DISTRIBUTED_SHORT, group="model"),
        grouped="model",
        caption="Measured on this machine. Acceleration: samples a second of all workers over those of one without "
        "exchange.",
        plots=[plot for plot in _plots(inputs, measured) if plot.panels],
        details=[
            Detail(
                "Parts of a step, bytes and losses",
                [_PARTS_TEXT],
                make_table(rows, DISTRIBUTED, "model"),
                "model",
            )
        ],
    )


_PARTS_TEXT = (
    "Communication is what the slowest worker waited for sums after its backward pass. Bytes are the payload that a "
    "worker hands to the collectives, headers included."
)


def _fastest(measured: Sequence[Row]) -> Iterator[str]:
    for model in dict.fromkeys(row["model"] for row in measured):
        mine = [row for row in measured if row["model"] == model and row.get("step_seconds")]
        if mine:
            best = min(mine, key=lambda row: float(row["step_seconds"]))
            yield (
                f"{model}: {best['method']} was the fastest, {milliseconds(best['step_seconds'])} a step, "
                f"{times(best['acceleration_ratio'])} of one worker."
            )


def _plots(inputs: Inputs, measured: Sequence[Row]) -> list[Plot]:
    models = list(dict.fromkeys(row["model"] for row in measured))
    histories = dict(inputs.series("distributed/curves"))
    methods = list(dict.fromkeys(row["method"] for row in measured))
    parts = [
        panel(model, _stack([row for row in measured if row["model"] == model]), 40 * len(methods) + 40)
        for model in models
        if all(row.get(f"{part}_seconds") is not None for row in measured for part in PARTS)
    ]
    return [
        Plot(
            "Parts of a measured step, and the acceleration over one worker behind each bar.",
            "The tables hold all values.",
            parts,
            list(zip(PARTS, SERIES, strict=False)),
        ),
        Plot(
            "Training loss of the parallel runs by epoch.",
            "The loss falls with every method; the last values are in the table.",
            list(_curves(models, methods, histories)),
            legend(methods),
        ),
    ]


def _stack(rows: Sequence[Row]) -> Chart:
    cells = [
        {"method": row["method"], "part": part, "order": order, "ms": max(0.0, 1e3 * row[f"{part}_seconds"])}
        for row in rows
        for order, part in enumerate(PARTS)
    ]
    ends = [
        {
            "method": row["method"],
            "ms": sum(max(0.0, 1e3 * row[f"{part}_seconds"]) for part in PARTS),
            "ratio": times(row["acceleration_ratio"]),
        }
        for row in rows
    ]
    longest = max(end["ms"] for end in ends)
    names = [row["method"] for row in rows]
    y = alt.Y("method:N", sort=names, title=None)
    x = alt.X(
        "ms:Q",
        title="milliseconds",
        scale=alt.Scale(domain=[0, 1.2 * longest], nice=False),
        axis=alt.Axis(tickCount=5),
    )
    bars = (
        alt.Chart(rows_data(cells))
        .mark_bar(height={"band": 0.7})
        .encode(
            x=x,
            y=y,
            color=colored("part", PARTS),
            order="order:Q",
            tooltip=["method:N", "part:N", alt.Tooltip("ms:Q", title="milliseconds", format=".1f")],
        )
    )
    text = (
        alt.Chart(rows_data(ends)).mark_text(align="left", dx=4, color=INK).encode(x=x, y=y, text="ratio:N")
    )
    return alt.layer(bars, text)


def _curves(
    models: Sequence[str], methods: Sequence[str], histories: dict[str, list[Row]]
) -> Iterator[Panel]:
    for model in models:
        rows = [
            {"method": method, "epoch": row["epoch"], "train_loss": row["train_loss"]}
            for method in methods
            for row in histories.get(f"{model}-{method}", ())
        ]
        if rows:
            chart = (
                alt.Chart(rows_data(rows))
                .mark_line(point=alt.OverlayMarkDef(size=40), strokeWidth=2)
                .encode(
                    x=epochs(rows),
                    y=alt.Y("train_loss:Q", title="training loss"),
                    color=colored("method", methods),
                    tooltip=["method:N", "epoch:Q", alt.Tooltip("train_loss:Q", format=".4")],
                )
            )
            yield panel(model, chart)
