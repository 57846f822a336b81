"""Why the numbers can be believed, and where they end."""

from collections.abc import Sequence

import altair as alt

from pipelines.report.comparison import LINK_NAMES
from pipelines.report.grid import read_grid
from pipelines.report.inputs import Inputs
from pipelines.report.page import Section
from pipelines.report.plots import PLAIN_SUMS, Chart, Plot, colored, legend, panel, rows_data
from pipelines.results import Row

BAND = 0.15
CLOSE_BYTES = 0.05
SMALL_BYTES = 1e5
"""Below it Horovod's own negotiation is most of the traffic."""


def section(inputs: Inputs) -> Section:
    """Say what was checked, show predictions against measurements, and name the limits."""
    sweep, _ = inputs.experiment("sweep/sweep.json")
    grid = read_grid()
    usual = [row for row in grid["validation"] if not row["oversubscribed"]]
    paragraphs = [
        "Training is real. Two Horovod processes exchange real gradients, packed to the bits that are counted. They "
        "talk TCP between network namespaces, over links that the kernel slows down.",
        *_bytes(sweep),
        "Predictions were judged on cells that their fit had not seen: one link or one model was left out at a time. "
        f"They err by {100 * grid['error']:.1f} % on average.",
        "Accuracy is compared over paired seeds, with a margin that was fixed before. An equal accuracy is shown by a "
        "test for equivalence, not by a test that found no difference.",
        "The limits: one machine with two cores, small images, short trainings, two workers. Predictions for more "
        "workers rest on the formulas of the collectives, not on measurements.",
    ]
    return Section("trust", "Can I believe it?", paragraphs, plots=[_validation(usual)])


def _bytes(sweep: Sequence[Row]) -> list[str]:
    """Compare the kernel's counter with what each method should send."""
    sent = [row for row in sweep if (row.get("wire_bytes_expected_per_step") or 0) > SMALL_BYTES]
    if not sent:
        return []
    errors = [
        abs(row["wire_bytes_counted_per_step"] / row["wire_bytes_expected_per_step"] - 1) for row in sent
    ]
    close = sum(error <= CLOSE_BYTES for error in errors)
    return [
        "The kernel counted the bytes on the wire. They agree with the expected number within "
        f"{100 * CLOSE_BYTES:.0f} % in {close} of {len(sent)} measurements."
    ]


def _validation(rows: Sequence[Row]) -> Plot:
    models = list(dict.fromkeys(row["model"] for row in rows))
    panels = [
        panel(f"A {fold} left out", _scatter([row for row in rows if row["left_out"] == fold], models))
        for fold in dict.fromkeys(row["left_out"] for row in rows)
    ]
    errors = [abs(row["predicted_ms"] / row["measured_ms"] - 1) for row in rows]
    within = sum(error <= BAND for error in errors)
    return Plot(
        f"Predicted against measured steps of the sweep. The band is an error of {100 * BAND:.0f} %.",
        f"{within} of {len(rows)} predictions lie within {100 * BAND:.0f} % of the measured step.",
        panels,
        legend(models),
        columns=2,
    )


def _scatter(rows: Sequence[Row], models: Sequence[str]) -> Chart:
    values = [row[f"{kind}_ms"] for row in rows for kind in ("measured", "predicted")]
    ends = [0.8 * min(values), 1.2 * max(values)]
    scale = alt.Scale(type="log", domain=ends, nice=False)
    axis = alt.Axis(values=[30, 100, 300, 1000, 3000, 10000], format="~s")
    line = [{"x": end, "low": (1 - BAND) * end, "high": (1 + BAND) * end} for end in ends]
    x = alt.X("x:Q", scale=scale, title="measured step, ms", axis=axis)
    y = alt.Y("low:Q", scale=scale, title="predicted step, ms", axis=axis)
    band = (
        alt.Chart(rows_data(line))
        .mark_area(clip=True, color=PLAIN_SUMS, opacity=0.18)
        .encode(x=x, y=y, y2="high:Q")
    )
    named = [row | {"link": LINK_NAMES.get(row["link"], row["link"])} for row in rows]
    points = (
        alt.Chart(rows_data(named))
        .mark_point(filled=True, size=36, opacity=0.8)
        .encode(
            x=alt.X("measured_ms:Q", scale=scale),
            y=alt.Y("predicted_ms:Q", scale=scale),
            color=colored("model", models),
            tooltip=["model:N", "method:N", "link:N", "measured_ms:Q", "predicted_ms:Q"],
        )
    )
    return alt.layer(band, points)
