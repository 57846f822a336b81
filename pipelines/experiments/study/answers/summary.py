"""Results of the study: all rows in one file, the answers, the figures and the page."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from pipelines.experiments.study.answers.collect import DataResults, read_data
from pipelines.experiments.study.answers.figures import draw_depth_curves, draw_rates, draw_robustness
from pipelines.experiments.study.answers.page import write_page
from pipelines.experiments.study.answers.paper import read_paper_run
from pipelines.experiments.study.answers.pareto import draw_pareto, points_of
from pipelines.experiments.study.answers.robustness import robustness_rows
from pipelines.experiments.study.answers.tables import claim_rows
from pipelines.experiments.study.config import StudyConfig
from pipelines.results import Row, write_json


def summarise(config: StudyConfig, milestones: Sequence[float], results: Path) -> None:
    """Collect what has been run; writes study.json, study.md, study.html and pictures in `results`/study.

    Reads `results`/study/runs. What the parameters name and no stage has written yet is reported as not run. The
    rate of the curves drops at the `milestones`, parts of all epochs.
    """
    folder = results / "study"
    names = [entry.name for entry in fields(config)]
    found = [read_data(name, getattr(config, name), folder / "runs") for name in names]
    write_json(folder / "study.json", [row for one in found for row in collected_rows(one)])
    for path in folder.glob("*.svg"):
        path.unlink()
    for one in found:
        draw_figures(one, milestones, folder)
    write_page(found, read_paper_run(results), folder)


def collected_rows(found: DataResults) -> list[Row]:
    """Return all rows of a data set, with its summaries over seeds and the answers, told apart by `experiment`."""
    rows = [*found.tuning, *found.comparison, *found.corruption]
    rows += [*found.steps, *found.curves, *found.ablation]
    rows += [{"experiment": "comparison_summary", **row} for row in found.comparison_summary()]
    rows += [{"experiment": "corruption_summary", **row} for row in robustness_rows(found.corruption)]
    rows += [{"experiment": "ablation_summary", **row} for row in found.ablation_summary()]
    rows += [{"experiment": "pair", **row} for row in found.compare_pairs()]
    return rows + claim_rows(found.data, found.answer_claims())


def draw_figures(found: DataResults, milestones: Sequence[float], folder: Path) -> None:
    """Draw DATA_*.svg in `folder`: curves, rates, robustness and costs, as far as there are rows of them."""
    prefix = found.data
    if any(row["validation_accuracy"] is not None for row in found.curves):
        draw_depth_curves(found.curves, milestones, folder / f"{prefix}_curves.svg")
        draw_rates(found.curves, folder / f"{prefix}_rates.svg")
    if found.corruption:
        draw_robustness(found.corruption, folder / f"{prefix}_robustness.svg")
    points = points_of(found.comparison_summary(), found.ablation_summary())
    if points:
        draw_pareto(points, folder / f"{prefix}_pareto.svg")
