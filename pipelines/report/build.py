"""Build the report: one self-contained HTML page of a pipeline run."""

from collections.abc import Callable
from pathlib import Path

from pipelines.report.inputs import Inputs
from pipelines.report.page import Section, render_page
from pipelines.report.sections import (
    answers,
    data,
    distributed,
    environment,
    explorer,
    headline,
    links,
    methods,
    recognition,
    related,
    target,
    time_to_accuracy,
    trust,
)

TITLE = "Does gradient quantization make my training faster, and what does it cost in accuracy?"
SECTIONS: tuple[Callable[[Inputs], Section], ...] = (
    answers.section,
    headline.section,
    time_to_accuracy.section,
    trust.section,
    explorer.section,
    recognition.section,
    related.section,
    distributed.section,
    links.section,
    target.section,
    methods.section,
    environment.section,
    data.section,
)
"""In the order of the page; each is one module of `pipelines.report.sections`."""


def build_report(results: Path, page: Path) -> None:
    """Write the page from the result files in the folder `results`; a missing file raises UserError."""
    inputs = Inputs(results)
    html = render_page(TITLE, _subtitle(inputs), (), [section(inputs) for section in SECTIONS])
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")


def rebuild_report(results: Path) -> None:
    """Write the report anew where there is one: an experiment has new answers for it."""
    page = results / "report.html"
    if page.exists():
        build_report(results, page)


def _subtitle(inputs: Inputs) -> str:
    row = (inputs.recognition or inputs.distributed)[0]
    return (
        f"gqbench, run on {inputs.prepared['name']} at commit {row.get('commit')}. What is predicted or simulated is "
        "called so; every other number was measured."
    )
