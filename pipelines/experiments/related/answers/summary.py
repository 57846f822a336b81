"""Results of the systems: all rows in one file, the answers, the figures and the page."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.experiments.related.answers.claims import claim_rows
from pipelines.experiments.related.answers.figures import draw_bytes
from pipelines.experiments.related.answers.page import own_picture, write_page
from pipelines.experiments.related.answers.searches import draw_searches
from pipelines.experiments.related.answers.tables import variant_rows
from pipelines.experiments.related.system import System
from pipelines.results import Row, read_json, write_json


def summarise(systems: Sequence[System], results: Path) -> None:
    """Collect what has been run; writes related.json, related.md and the pictures in `results`/related.

    Reads `results`/related/runs. What was not run is reported as such. A picture is SYSTEM-DATA.svg, a system's own one
    SYSTEM-DATA-own.svg.
    """
    folder = results / "related"
    for path in folder.glob("*.svg"):
        path.unlink()
    rows: list[Row] = []
    for system in systems:
        for data in system.data_sets:
            path = folder / "runs" / f"{system.name}-{data}.json"
            if not path.exists():
                continue
            found: list[Row] = read_json(path)
            variants = variant_rows(system, found)
            rows += [*found, *variants, *claim_rows(system, data, found)]
            if any(row["test_accuracy_mean"] is not None for row in variants):
                settings = {variant.name: variant.setting for variant in system.variants()}
                draw_bytes(variants, folder / f"{system.name}-{data}.svg", settings)
            if system.picture is not None and any(
                row[f"{system.score}_mean"] is not None for row in variants
            ):
                system.draw(found, folder / own_picture(system, data))
            draw_searches(system, found, folder / f"{system.name}-{data}")
    write_json(folder / "related.json", rows)
    write_page(systems, rows, folder)
