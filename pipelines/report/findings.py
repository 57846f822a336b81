"""What a pipeline run found, in a page of markdown: the note of its run in the tracking store."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.report.claims import claims_section, read_claims
from pipelines.report.tables import shown_recognition
from pipelines.results import Row, read_json
from pipelines.tables import (
    Column,
    count,
    decimal,
    make_table,
    markdown,
    milliseconds,
    percent,
    percent_interval,
    times,
)

_MODELS = (
    Column("model", "model"),
    Column("test_accuracy", "test accuracy", percent_interval, max),
    Column("auc_macro", "macro AUC", lambda interval: decimal(interval.value), max),
    Column("num_parameters", "parameters", count),
)
_METHODS = (
    Column("model", "model"),
    Column("method", "method"),
    Column("test_accuracy", "test accuracy", percent, max),
    Column("step_seconds", "step", milliseconds, min),
    Column("acceleration_ratio", "acceleration", times, max),
    Column("wire_bytes_per_step", "bytes a step", count, min),
)


def findings(results: Path) -> str:
    """Return the findings from the result files in the folder `results`; a missing file raises UserError."""
    recognition = read_json(results / "recognition.json")
    distributed = read_json(results / "distributed.json")
    speedup = read_json(results / "speedup.json")
    parts = [
        _best_model(recognition),
        *_fastest(distributed, speedup),
        "### Models",
        markdown(make_table(shown_recognition(recognition), _MODELS)),
        "### Parallel methods",
        markdown(make_table(_measured(distributed, speedup), _METHODS, group="model")),
        "### The study's claims",
        *_claims(results),
    ]
    return "\n\n".join(parts) + "\n"


def _best_model(rows: Sequence[Row]) -> str:
    best = max(rows, key=lambda row: row["test_accuracy"])
    return (
        f"Data {best['data']}: {best['model']} has the highest test accuracy, {percent(best['test_accuracy'])} "
        f"({best['num_test']:,} images, one training a model, {best['epochs']} epochs)."
    )


def _measured(distributed: Sequence[Row], speedup: Sequence[Row]) -> list[Row]:
    """Join the measured speed-up rows with what the runs gave."""
    runs = {(row["model"], row["method"]): row for row in distributed}
    return [
        row | {"test_accuracy": runs[row["model"], row["method"]]["test_accuracy"]}
        for row in speedup
        if row["link_mbit_per_second"] is None
    ]


def _fastest(distributed: Sequence[Row], speedup: Sequence[Row]) -> list[str]:
    """Say for each model which method was the fastest, measured and predicted for the slowest link."""
    sentences = []
    joined = _measured(distributed, speedup)
    for model in dict.fromkeys(row["model"] for row in joined):
        best = min((row for row in joined if row["model"] == model), key=_step)
        sentences.append(
            f"- {model}, {best['workers']} workers: {best['method']} was the fastest, "
            f"{milliseconds(best['step_seconds'])} a step and {times(best['acceleration_ratio'])} of one worker, "
            f"at {percent(best['test_accuracy'])} test accuracy{_on_slowest_link(model, speedup)}."
        )
    return ["\n".join(sentences)]


def _step(row: Row) -> float:
    """Return the seconds of a step: the acceleration, too, depends on how each run's own single worker was timed."""
    return float(row["step_seconds"])


def _on_slowest_link(model: str, speedup: Sequence[Row]) -> str:
    """Name the method that is the fastest on the slowest link, and say whether that was measured or is predicted."""
    linked = [row for row in speedup if row["model"] == model and row["link_mbit_per_second"] is not None]
    if not linked:
        return ""
    slowest = min(row["link_mbit_per_second"] for row in linked)
    best = min((row for row in linked if row["link_mbit_per_second"] == slowest), key=_step)
    source = f"{best['source']} {'for' if best['source'] == 'predicted' else 'on'}"
    return f"; {source} {slowest:g} Mbit/s: {best['method']}, {times(best['acceleration_ratio'])}"


def _claims(results: Path) -> list[str]:
    """Return the answers to the study's claims, which take several seeds, and whose they are."""
    rows, origin = read_claims(results)
    answers = [row for row in rows if row["test"] is None]
    return [origin, "\n".join(f"- {text}" for text in claims_section(answers).paragraphs[:-1])]
