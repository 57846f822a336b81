"""What a target accuracy costs: time, bytes and price, from measured curves and simulated steps."""

from collections.abc import Iterator, Sequence

import altair as alt

from pipelines.report.inputs import Inputs
from pipelines.report.page import Section
from pipelines.report.plots import Panel, Plot, colored, legend, panel, rows_data
from pipelines.report.tables import TARGET, shown_target
from pipelines.results import Row
from pipelines.tables import make_table

COSTS = {
    "seconds_to_target": "seconds",
    "gigabytes_to_target": "GB sent by all workers",
    "price_to_target": "price",
}


def section(inputs: Inputs) -> Section:
    """Show what the target costs on the slowest link, by model, method and number of workers."""
    rows = shown_target(inputs.target)
    if not rows:
        return Section(
            "target",
            "What a target accuracy costs",
            ["This was not worked out: no model of this run has recorded steps of other batch sizes."],
        )
    first = rows[0]
    return Section(
        "target",
        "What a target accuracy costs",
        [
            f"The target is {first['target_accuracy']:.0%} test accuracy on the digits, the link {first['link']}. "
            "results/target.json has the other links.",
            "The steps to the target were measured, by epoch, with one seed and a batch of 128 images that all workers "
            "share. A column names the model whose curve it is.",
            "The step is simulated, and so are time and price. Bytes follow from what the method sends. The prices of "
            "an hour and of a gigabyte are parameters of the section `speedup`.",
        ],
        make_table(rows, TARGET, group="cell"),
        grouped="model and workers",
        plots=[plot for plot in _plots(rows) if plot.panels],
    )


def _plots(rows: Sequence[Row]) -> Iterator[Plot]:
    reached = [row for row in rows if row["steps_to_target"] is not None]
    methods = list(dict.fromkeys(row["study_method"] for row in rows))
    for key, title in COSTS.items():
        yield Plot(
            f"{title[0].upper()}{title[1:]} to the target, by the number of workers.",
            "The table holds all values. A method without a point did not reach the target.",
            list(_by_workers(reached, key, title, methods)),
            legend(methods),
        )


def _by_workers(rows: Sequence[Row], key: str, title: str, methods: Sequence[str]) -> Iterator[Panel]:
    for model in dict.fromkeys(row["model"] for row in rows):
        keys = ("study_method", "method", "workers", key)
        mine = [{name: row[name] for name in keys} for row in rows if row["model"] == model]
        lines = (
            alt.Chart(rows_data(mine))
            .mark_line(point=alt.OverlayMarkDef(size=45), strokeWidth=2)
            .encode(
                x=alt.X("workers:Q", scale=alt.Scale(type="log", base=2), title="workers"),
                y=alt.Y(f"{key}:Q", scale=alt.Scale(type="log"), title=title),
                color=colored("study_method", methods),
                tooltip=[
                    "study_method:N",
                    "method:N",
                    "workers:Q",
                    alt.Tooltip(f"{key}:Q", title=title, format=".3~g"),
                ],
            )
        )
        yield panel(model, lines)
