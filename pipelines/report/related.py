"""The further systems in the report: their answers and what each does to the gradients."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.report.claims import CLAIMS, difference_cells
from pipelines.report.page import Section
from pipelines.results import Row, own_or_reference, read_json
from pipelines.tables import (
    Column,
    Interval,
    count,
    decimal,
    make_table,
    milliseconds,
    percent,
    percent_interval,
    seconds,
)

VARIANTS = (
    Column("variant", "variant"),
    Column("what", "what it is"),
    Column("accuracy", "test accuracy", percent_interval, max),
    Column("num_parameters_mean", "parameters", count, min),
    Column("num_multiply_adds_mean", "multiply-adds", count, min),
    Column("train_seconds_mean", "training", seconds, min),
    Column("inference_latency_seconds_median_mean", "inference, one image", milliseconds, min),
    Column("reference_bytes_per_step_mean", "bytes a step, sums", count, min),
    Column("compressed_bytes_per_step_mean", "bytes a step, GQ", count, min),
    Column("workers_accuracy", "accuracy, two workers under GQ", percent, max),
    Column("published_accuracy", "published", percent),
)
ANSWERS = (
    Column("system", "system"),
    Column("data", "data"),
    Column("answer", "answer"),
    Column("baseline", "baseline"),
    Column("baseline_accuracy", "its accuracy", percent),
    Column("best", "system"),
    Column("best_accuracy", "its accuracy", percent),
    Column("bytes_ratio", "its bytes a step under GQ, of the baseline's", decimal),
    Column("workers_accuracy", "its accuracy, two workers under GQ", percent),
)
RULE = (
    "A claim holds when each of its comparisons holds, and does not hold when one does not. A comparison takes the "
    "differences paired by seed: it holds when the 95 % t interval of their mean lies above 0 (or above minus the "
    "margin, where the claim is that nothing is lost), does not hold when it lies at or below it, and else is not "
    "decided. The intervals speak for further trainings and not for further test images, which all seeds share; they "
    "are not corrected for the number of tests. Published figures are from other recipes and data, for orientation."
)


def shown_variants(rows: Sequence[Row]) -> list[Row]:
    """Return rows of the experiment `variant` with the composed cells of the table `VARIANTS`."""
    shown = []
    for row in rows:
        cells: Row = {"workers_accuracy": row["workers_test_accuracy_mean"]}
        if row["test_accuracy_mean"] is not None:
            low, high = row["test_accuracy_low"], row["test_accuracy_high"]
            mean = row["test_accuracy_mean"]
            cells["accuracy"] = Interval(mean, mean if low is None else low, mean if high is None else high)
        if row["num_diverged"]:
            cells["variant"] = f"{row['variant']} ({row['num_diverged']} diverged)"
        shown.append(row | cells)
    return shown


def shown_tests(rows: Sequence[Row]) -> list[Row]:
    """Return the tests among claim rows with the composed cells of the table `CLAIMS`."""
    shown = []
    for row in rows:
        if row["test"] is None:
            continue
        cells = difference_cells(row)
        if not row["key"].endswith("accuracy"):
            cells = {key: _plainly(row, key) for key in ("difference", "interval")}
        margin = f" (margin {100 * row['margin']:g} points)" if row["margin"] else ""
        claim = row["system"] if row["counted"] else "for orientation"
        shown.append(row | cells | {"claim": claim, "test": f"{row['test']}{margin}"})
    return shown


def _plainly(row: Row, cell: str) -> str | None:
    if cell == "difference":
        return None if row["difference"] is None else f"{row['difference']:+.4g}"
    low, high = row["difference_low"], row["difference_high"]
    return None if low is None else f"[{low:+.4g}, {high:+.4g}]"


def answer_rows(rows: Sequence[Row]) -> list[Row]:
    """Return a row a system and data set: its answer, and the system beside the baseline.

    Of several variants that are the system itself the first is shown.
    """
    table = []
    for claim in (row for row in rows if row["experiment"] == "claim" and row["test"] is None):
        mine = [
            row
            for row in rows
            if row["experiment"] == "variant"
            and (row["system"], row["data"]) == (claim["system"], claim["data"])
        ]
        roles: dict[str, Row] = {}
        for row in mine:
            roles.setdefault(row["role"], row)
        baseline, system = roles.get("baseline"), roles.get("system")
        shown: Row = {"system": claim["system"], "data": claim["data"], "answer": claim["answer"]}
        if baseline:
            shown |= {"baseline": baseline["variant"], "baseline_accuracy": baseline["test_accuracy_mean"]}
        if system:
            shown |= {"best": system["variant"], "best_accuracy": system["test_accuracy_mean"]}
            shown["workers_accuracy"] = system["workers_test_accuracy_mean"]
        sent = [(one or {}).get("compressed_bytes_per_step_mean") for one in (system, baseline)]
        shown["bytes_ratio"] = sent[0] / sent[1] if sent[0] and sent[1] else None
        table.append(shown)
    return table


def related_section(results: Path) -> Section:
    """Show the answers of the last `make related`, or else of the authors' run; no dependency of the DAG."""
    path, committed = own_or_reference(results, "related/related.json")
    rows: list[Row] = read_json(path) if path.exists() else []
    answers = answer_rows(rows)
    if not answers:
        return Section("related", "Further systems", ["Not run: make related answers their claims."])
    whose = "the authors' run (yours: make related)" if committed else "make related"
    commits = " and ".join(sorted({str(row["commit"]) for row in rows if "commit" in row}))
    page = f"{'reference' if committed else 'results'}/related/related.md"
    paragraphs = [
        f"Answered by {whose} at commit {commits}; all tables and figures: {page}.",
        "Each system of the literature beside its baseline, on the same data, recipe, seeds and statistics.",
        RULE,
    ]
    return Section("related", "Further systems", paragraphs, make_table(answers, ANSWERS))


__all__ = ["ANSWERS", "CLAIMS", "VARIANTS", "answer_rows", "related_section", "shown_tests", "shown_variants"]
