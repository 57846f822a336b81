"""Results of the sweep: all rows in one file, a table to read, figures to look at."""

from collections.abc import Iterator
from itertools import product

from pipelines.experiments.sweep.config import SweepConfig
from pipelines.experiments.sweep.figures import draw_acceleration, draw_steps
from pipelines.experiments.sweep.job import CELLS, RESULTS
from pipelines.experiments.sweep.policy import policy_table
from pipelines.experiments.sweep.rows import ALONE, REFERENCE, ratio_to_reference
from pipelines.results import Row, read_json, write_json
from pipelines.tables import markdown_line

NOTES = (
    "All methods of a cell take turns, one block of steps each a round. *Step* is the median over the rounds of a "
    "block's mean, *spread* the distance of the quartiles. *By round* divides a method's block by that of `sdp` in the "
    "same round: median and quartiles; a slow spell of the machine lengthens both.",
    "*One worker* (method `alone`) trains without any exchange, on all nodes of the run at the same time: it shares "
    "the machine's cores and memory as the workers of the other methods do. *Exposed communication* is what a step "
    "takes longer than this one of the same round and run, *hidden wire time* what the payload takes on the link "
    "beyond that: the worker computes meanwhile. *Efficiency* is the step of one worker over the method's, at most 1. "
    "Its *limit* is that of workers that exchange one number a step: each waits for the slower one, whatever it sends.",
    "A block ends when all that it sent has arrived and is applied. Methods that apply updates late (`ssp`, layerwise "
    "updates) so wait once a block for what would otherwise be hidden behind the next steps: a lower bound of what "
    "they gain.",
    "kB are what a worker sends in a step. *Expected* is the payload of the collectives, *interface* the raw counter "
    "of the node's network interface: payload, headers, acknowledgements, and the negotiation in which Horovod's "
    "ranks ask each other what is ready. *Counted* is the raw counter less that negotiation: its rate, measured in the "
    "same round on the same node while each worker trains alone, times the part of the step in which no collective is "
    "under way. Horovod does not negotiate during a collective; that part is taken as the step less the payload's time "
    "on the link, so on an unshaped link as all of the step. Times and bytes are of separate rounds: a short cycle of "
    "the negotiation makes gradients wait less, a long one leaves less to subtract.",
    "The second table holds `auto` against the method that turned out fastest, which nobody knows beforehand: the one "
    "with the smallest median in this very measurement. To tell them apart, `auto` and those within a tenth of the "
    "fastest took further turns after the rounds of all methods. The interval is that of the median of the ratios by "
    "round, from order statistics; it takes six rounds. Where workers outnumber the cores, "
    "`sweep.oversubscribed_methods` alone are timed, `auto` not among them.",
)
"""Paragraphs above the table."""
MILLISECONDS = {
    "step_seconds_median": "step, ms",
    "step_seconds_iqr": "spread, ms",
    "one_worker_step_seconds_median": "one worker, ms",
    "exposed_communication_seconds": "exposed communication, ms",
    "hidden_wire_seconds": "hidden wire time, ms",
    "encode_seconds": "encode, ms",
    "decode_seconds": "decode, ms",
}
KILOBYTES = {
    "wire_bytes_expected_per_step": "kB expected",
    "wire_bytes_counted_per_step": "kB counted",
    "interface_bytes_per_step": "kB interface",
}


def summarise(config: SweepConfig) -> None:
    """Collect the rows of all models and links.

    Reads the cells of results/sweep; writes sweep.json, sweep.md, steps.svg and acceleration.svg there.
    """
    rows = [
        row
        for model, link in product(config.models, config.links)
        for row in read_json(CELLS / f"{model}-{link}.json")
    ]
    write_json(RESULTS / "sweep.json", rows)
    notes = [line for note in NOTES for line in (note, "")]
    lines = [*notes, *table(rows), "", *policy_table(rows)]
    (RESULTS / "sweep.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fewest = [row for row in rows if row["workers"] in (1, min(config.workers))]
    draw_steps(fewest, RESULTS / "steps.svg")
    draw_acceleration(fewest, RESULTS / "acceleration.svg")


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table, losses against `sdp` in words."""
    titles = [
        "model",
        "link",
        "workers",
        "method",
        "rounds",
        "steps",
        *MILLISECONDS.values(),
        "efficiency",
        "its limit",
        *KILOBYTES.values(),
    ]
    yield markdown_line([*titles, "`sdp` over this", "this over `sdp`, by round"])
    yield "|---" * (len(titles) + 2) + "|"
    for row in rows:
        workers = f"{row['workers']}{' (oversubscribed)' if row['oversubscribed'] else ''}"
        cells = [
            row["model"],
            row["link"],
            workers,
            row["method"],
            str(row["num_rounds"]),
            str(row["timed_steps"]),
        ]
        cells += [_scaled(row[key], 1e3) for key in MILLISECONDS]
        cells += [f"{row[key]:.2f}" for key in ("efficiency", "efficiency_limit")]
        cells += [*(_scaled(row[key], 1e-3) for key in KILOBYTES)]
        yield markdown_line([*cells, verdict(row, rows), paired_verdict(row)])


def _scaled(value: float | None, factor: float) -> str:
    return "–" if value is None else f"{factor * value:.1f}"


def verdict(row: Row, rows: list[Row]) -> str:
    """Say how the medians of the row and of `sdp` compare: a ratio, and "slower" where it is below 1."""
    ratio = ratio_to_reference(row, rows)
    if row["method"] in (ALONE, REFERENCE) or ratio is None:
        return ""
    slower_by = row["step_seconds_median"] * (1 - ratio)
    return f"{ratio:.2f}{_loss(slower_by > 0, slower_by <= row['step_seconds_iqr'])}"


def paired_verdict(row: Row) -> str:
    """Say how the row compares with `sdp` round by round: the median ratio and, in brackets, its quartiles."""
    low, median, high = (
        row[f"step_over_{REFERENCE}_{part}"] for part in ("low_quartile", "median", "high_quartile")
    )
    if row["method"] in (ALONE, REFERENCE) or median is None:
        return ""
    return f"{median:.2f} ({low:.2f} to {high:.2f}){_loss(median > 1, low <= 1)}"


def _loss(slower: bool, within_spread: bool) -> str:
    if not slower:
        return ""
    return ", slower, within the spread" if within_spread else ", slower"
