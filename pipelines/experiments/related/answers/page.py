"""The page of the systems, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.experiments.related.answers.searches import search_parts
from pipelines.experiments.related.answers.tables import columns_of
from pipelines.experiments.related.system import System
from pipelines.experiments.study.answers.claims import NOT_RUN
from pipelines.report.claims import CLAIMS
from pipelines.report.related import ANSWERS, RULE, answer_rows, shown_tests, shown_variants
from pipelines.results import Row
from pipelines.tables import make_table, markdown

TITLE = "gqbench: further systems of the literature"
FROM_ABSTRACT = "Built after the description in the abstract: the text could not be had (docs/decisions.md)."


def write_page(systems: Sequence[System], rows: Sequence[Row], folder: Path) -> None:
    """Write related.md in `folder`, with links to the figures there."""
    parts = [
        f"# {TITLE}",
        "Every number on this page was measured by `make related`, but for the published ones. Same data, recipe, "
        "seeds and statistics for all; bytes are what a worker hands to the collectives in a step for the gradients "
        "of the network that is trained.",
        "## Answers",
        markdown(make_table(answer_rows(rows), ANSWERS)),
        RULE,
    ]
    for system in systems:
        mine = [row for row in rows if row["system"] == system.name]
        parts += system_parts(system, mine, folder)
    (folder / "related.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def system_parts(system: System, rows: Sequence[Row], folder: Path) -> list[str]:
    """Return the paragraphs about one system; `rows` are its own."""
    parts = [f"## {system.name}", f"{system.source}. Claim: {system.claim}"]
    parts += [FROM_ABSTRACT] if system.from_abstract else []
    for data in system.data_sets:
        here = [row for row in rows if row["data"] == data]
        parts.append(f"### {system.name}: {data}")
        if not here:
            parts.append(f"{data}: {NOT_RUN}.")
            continue
        claims = [row for row in here if row["experiment"] == "claim"]
        variants = [row for row in here if row["experiment"] == "variant"]
        parts += [f"Answer: {row['answer']}{_because(row)}." for row in claims if row["test"] is None]
        parts.append(_setting(variants))
        parts.append(markdown(make_table(shown_variants(variants), columns_of(system))))
        parts.append(markdown(make_table(shown_tests(claims), CLAIMS)))
        parts += _notes(here, variants)
        picture = f"{system.name}-{data}.svg"
        if (folder / picture).exists():
            parts.append(f"![{system.name} on {data}: accuracy against the bytes of gradient]({picture})")
        if (folder / own_picture(system, data)).exists():
            parts.append(f"![{system.name} on {data}: {system.picture}]({own_picture(system, data)})")
        parts += search_parts(system, here, folder / f"{system.name}-{data}")
    return parts


def own_picture(system: System, data: str) -> str:
    """Return the name of the file with a system's own picture of a data set."""
    return f"{system.name}-{data}-own.svg"


def _because(row: Row) -> str:
    return f" ({row['reason']})" if row["reason"] else ""


def _setting(variants: Sequence[Row]) -> str:
    if not variants:
        return "No variant was trained."
    images = {format(row["num_train_images"], ",") for row in variants}
    seeds = max(row["num_seeds"] for row in variants)
    epochs = sorted({row["epochs"] for row in variants})
    others = sorted({row["prepared"] for row in variants} - {row["data"] for row in variants} - {None})
    of_others = f" of {' and '.join(others)}" if others else ""
    return (
        f"{' and '.join(sorted(images))} training images{of_others}, {' to '.join(map(str, epochs))} epochs, "
        f"{seeds} seeds. In brackets: 95 % t interval of the mean over seeds."
    )


def _notes(rows: Sequence[Row], variants: Sequence[Row]) -> list[str]:
    """Say what was not trained and where the published figures are from."""
    notes = [
        f"{row['variant']}: not trained, as {row['reason']}."
        for row in rows
        if row["experiment"] == "missing"
    ]
    notes += [
        f"{row['variant']}, two workers: {row['workers_reason']}."
        for row in variants
        if row["workers_reason"]
    ]
    notes += [
        f"Published for {row['variant']}: {row['published_source']}."
        for row in variants
        if row["published_source"] is not None
    ]
    return notes
