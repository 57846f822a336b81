"""Results of the sweep: all rows in one file, a table to read, figures to look at."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from pipelines.results import Row, read_json, write_json
from pipelines.sweep.config import SweepConfig
from pipelines.sweep.figures import draw_acceleration, draw_steps
from pipelines.sweep.rows import ALONE, REFERENCE, ratio_to_reference

RESULTS = Path("results")
NOTES = (
    "kB are what a worker sends in a step. *Expected* is the payload of the collectives, *interface* the raw counter "
    "of the node's network interface: payload, headers, acknowledgements, and the negotiation in which Horovod's "
    "ranks ask each other what is ready. *Counted* is the raw counter less that negotiation: its rate, measured while "
    "each worker trains alone, times the part of the step in which no collective is under way. Horovod does not "
    "negotiate during a collective; that part is taken as the step less the payload's time on the link, so on an "
    "unshaped link as all of the step.",
)
"""Paragraphs above the table."""


def summarise(config: SweepConfig) -> None:
    """Collect the rows of all models and links.

    Reads results/sweep/MODEL-LINK.json; writes results/sweep.json, results/sweep.md and two figures.
    """
    rows = [
        row
        for model, link in product(config.models, config.links)
        for row in read_json(RESULTS / "sweep" / f"{model}-{link}.json")
    ]
    write_json(RESULTS / "sweep.json", rows)
    lines = [*NOTES, "", *table(rows), "", *policy_table(rows)]
    (RESULTS / "sweep.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fewest = [row for row in rows if row["workers"] in (1, min(config.workers))]
    draw_steps(fewest, RESULTS / "sweep_steps.svg")
    draw_acceleration(fewest, RESULTS / "sweep_acceleration.svg")


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table, losses against `sdp` in words."""
    yield "| model | link | workers | method | step, ms | spread, ms | exposed communication, ms | encode, ms | decode, ms | kB expected | kB counted | kB interface | `sdp` over this |"  # noqa: E501
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        milliseconds = [
            f"{1e3 * row[key]:.1f}"
            for key in (
                "step_seconds_median",
                "step_seconds_iqr",
                "exposed_communication_seconds",
                "encode_seconds",
                "decode_seconds",
            )
        ]
        sent = ("wire_bytes_expected_per_step", "wire_bytes_counted_per_step", "interface_bytes_per_step")
        kilobytes = [f"{row[key] / 1e3:.1f}" for key in sent]
        workers = f"{row['workers']}{' (oversubscribed)' if row['oversubscribed'] else ''}"
        cells = [row["model"], row["link"], workers, row["method"], *milliseconds, *kilobytes]
        yield "| " + " | ".join([*cells, verdict(row, rows)]) + " |"


def verdict(row: Row, rows: list[Row]) -> str:
    """Say how the row compares with `sdp`: a ratio, and "loses" where it is slower by more than the spread."""
    ratio = ratio_to_reference(row, rows)
    if row["method"] in (ALONE, REFERENCE) or ratio is None:
        return ""
    slower_by = row["step_seconds_median"] * (1 - ratio)
    return f"{ratio:.2f}, loses" if slower_by > row["step_seconds_iqr"] else f"{ratio:.2f}"


def policy_table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table: `auto` beside the fastest of those that it may choose, in every cell."""
    yield "| model | link | workers | fastest that `auto` may choose | its step, ms | `auto`, ms | `auto` over it |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        if row["strategy"] != "auto":
            continue
        keys = ("model", "link", "workers")
        cell = [other for other in rows if all(other[key] == row[key] for key in keys)]
        uniform = [other for other in cell if could_choose(row, other)]
        best = min(uniform, key=lambda other: float(other["step_seconds_median"]))
        steps = [best["step_seconds_median"], row["step_seconds_median"]]
        cells = [*(str(row[key]) for key in keys), best["method"], *(f"{1e3 * step:.1f}" for step in steps)]
        yield "| " + " | ".join([*cells, f"{steps[1] / steps[0]:.3f}"]) + " |"


def could_choose(auto: Row, other: Row) -> bool:
    """Whether the method of row `other` is one that `auto` may choose for all buckets: fp32, fp16, GQ of its widths."""
    if other["strategy"] == "gq":
        return other["wire_bits"] in auto["wire_bits"]
    return other["strategy"] in ("sdp", "sdp_fp16")
