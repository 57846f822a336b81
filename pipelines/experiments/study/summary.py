"""Results of the study: all rows in one file, the answers, the figures and the page."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from pipelines.experiments.study.collect import DataResults, read_data
from pipelines.experiments.study.config import StudyConfig
from pipelines.experiments.study.figures import draw_cost, draw_depth_curves, draw_rates
from pipelines.experiments.study.page import write_page
from pipelines.experiments.study.tables import ablation_rows, claim_rows, comparison_rows
from pipelines.results import Row, write_json


def summarise(config: StudyConfig, milestones: Sequence[float], results: Path) -> None:
    """Collect what has been run; writes study.json, study.md, study.html and study_*.svg in `results`.

    Reads `results`/study. What the parameters name and no stage has written yet is reported as not run. The rate of
    the curves drops at the `milestones`, parts of all epochs.
    """
    names = [entry.name for entry in fields(config)]
    found = [read_data(name, getattr(config, name), results / "study") for name in names]
    write_json(results / "study.json", [row for one in found for row in collected_rows(one)])
    for path in results.glob("study_*.svg"):
        path.unlink()
    for one in found:
        draw_figures(one, milestones, results)
    write_page(found, results)


def collected_rows(found: DataResults) -> list[Row]:
    """Return all rows of a data set, with its summaries over seeds and the answers, told apart by `experiment`."""
    rows = [*found.tuning, *found.comparison, *found.curves, *found.ablation]
    rows += [{"experiment": "comparison_summary", **row} for row in comparison_rows(found.comparison)]
    rows += [{"experiment": "ablation_summary", **row} for row in ablation_rows(found.ablation)]
    rows += [{"experiment": "pair", **row} for row in found.compare_pairs()]
    return rows + claim_rows(found.data, found.answer_claims())


def draw_figures(found: DataResults, milestones: Sequence[float], results: Path) -> None:
    """Draw study_DATA_*.svg: curves and rates, parameters and seconds, as far as there are rows of them."""
    prefix = f"study_{found.data}"
    if any(row["validation_accuracy"] is not None for row in found.curves):
        draw_depth_curves(found.curves, milestones, results / f"{prefix}_curves.svg")
        draw_rates(found.curves, results / f"{prefix}_rates.svg")
    summary = [row for row in comparison_rows(found.comparison) if row["num_seeds"]]
    if summary:
        draw_cost(summary, "num_parameters", "parameters", results / f"{prefix}_parameters.svg")
        label = "training time in seconds, mean over seeds"
        timed = [row for row in summary if row["train_seconds_mean"] is not None]
        draw_cost(timed, "train_seconds_mean", label, results / f"{prefix}_seconds.svg")
