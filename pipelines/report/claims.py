"""The answers to the study's claims, from the rows that the recognition study writes."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.report.page import Section
from pipelines.results import Row, own_or_reference, read_json
from pipelines.tables import Column, count, decimal, make_table

RULE = (
    "Rule: a claim holds when each of its tests holds, and does not hold when one does not. A test over seeds takes "
    "the differences of test accuracy paired by seed: it holds when the 95 % t interval of their mean lies above 0, "
    "does not hold when it lies at or below 0, and else is not decided; differences that are all equal give no "
    "interval and decide nothing. With one seed in common, McNemar's exact test on the shared test images decides at "
    "level 0.05, corrected for the tests of the claim (Holm). The claim on the learning rate has one value a model, "
    "the mean over its initial rates and drops of the change from the epoch before the drop to the next; its runs "
    "share their seed and validation images. Intervals over seeds generalise over trainings and not over test images, "
    "which all seeds share; the t intervals are not corrected for the number of tests; diverged seeds are left out."
)

CLAIMS = (
    Column("data", "data"),
    Column("claim", "claim"),
    Column("test", "test"),
    Column("answer", "answer"),
    Column("difference", "mean difference"),
    Column("interval", "95 % interval"),
    Column("detectable", "least mean that would decide"),
    Column("p_value", "p", decimal),
    Column("num_pairs", "pairs", count),
    Column("rule", "rule"),
)


def read_claims(results: Path) -> tuple[list[Row], str]:
    """Return the rows of the claims, of the user's own study or else of the authors', and what they come from."""
    path, committed = own_or_reference(results, "study/study.json")
    rows: list[Row] = read_json(path) if path.exists() else []
    if not rows:
        return [], "Not run: make study answers them."
    whose = "the authors' run (yours: make study)" if committed else "make study"
    commits = " and ".join(sorted({str(row["commit"]) for row in rows if "commit" in row}))
    tables = f"{'reference' if committed else 'results'}/study/study.md"
    origin = f"Answered by {whose} at commit {commits}; all of its tables and figures: {tables}."
    return [row for row in rows if row["experiment"] == "claim"], origin


def claims_section(rows: Sequence[Row]) -> Section:
    """Answer the claims and show the tests behind the answers.

    Args:
        rows: one a claim (test None), followed by one a test of it, as `claim_rows` of the study writes.
    """
    sentences = [_answer(row) for row in rows if row["test"] is None]
    shown = shown_claims(rows)
    rule = [RULE] if rows else []
    return Section(
        "claims", "The study's claims", [*sentences, *rule], make_table(shown, CLAIMS) if shown else None
    )


def _answer(row: Row) -> str:
    reason = f" ({row['reason']})" if row["reason"] else ""
    return f"{row['statement']}, on {row['data']}: {row['claim_answer']}{reason}."


def shown_claims(rows: Sequence[Row]) -> list[Row]:
    """Return the tests among the rows with the composed cells of the table `CLAIMS`."""
    shown = []
    for row in rows:
        if row["test"] is None:
            continue
        claim = row["statement"] if row["counted"] else "for orientation"
        shown.append(row | {"claim": claim, "claim_key": row["claim"]} | difference_cells(row))
    return shown


def difference_cells(row: Row) -> Row:
    """Return the cells difference, interval and detectable of a row with a difference and its bounds; None: unknown.

    Detectable is half the interval: a mean of so much above 0 would have an interval above 0.
    """
    unit, factor = (" nats", 1) if row.get("unit") == "nats" else (" points", 100)
    difference, low, high = row["difference"], row["difference_low"], row["difference_high"]
    return {
        "difference": None if difference is None else f"{factor * difference:+.3g}{unit}",
        "interval": None if low is None else f"[{factor * low:+.3g}, {factor * high:+.3g}]",
        "detectable": None if low is None else f"{factor * (high - low) / 2:.3g}{unit}",
    }
