"""What searches have found, on the page: the course of the searches, and the best network."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.experiments.related.system import Role, System
from pipelines.models.searched.diagram import diagram_of
from pipelines.results import Row
from pipelines.search.pictures import draw_network, draw_search


def draw_searches(system: System, rows: Sequence[Row], stem: Path) -> None:
    """Write `stem`-search.svg and `stem`-network.svg of a system that searches, from its rows on one data set."""
    generations = [row for row in rows if row["experiment"] == "search"]
    if not generations:
        return
    draw_search(generations, _beside(stem, "search"))
    best = best_found(system, rows)
    diagram = None if best is None else diagram_of(best["model"])
    if best is not None and diagram is not None:
        draw_network(diagram, f"Found by {best['variant']}, seed {best['seed']}", _beside(stem, "network"))


def best_found(system: System, rows: Sequence[Row]) -> Row | None:
    """Return the run of the system's own search whose network is the best on the validation part."""
    names = {one.name for one in system.variants() if one.search is not None and one.role == Role.SYSTEM}
    runs = [
        row for row in rows if row["experiment"] == "run" and row["variant"] in names and not row["diverged"]
    ]
    return max(runs, key=lambda row: float(row["best_validation_accuracy"]), default=None)


def search_parts(system: System, rows: Sequence[Row], stem: Path) -> list[str]:
    """Return the paragraphs about the searches of a system; `rows` are those of one data set."""
    parts = []
    if _beside(stem, "search").exists():
        parts.append(f"![{stem.name}: the course of the searches]({_beside(stem, 'search').name})")
    best = best_found(system, rows)
    if best is not None and _beside(stem, "network").exists():
        parts.append(
            f"Best network of {best['variant']}, by the validation part: seed {best['seed']}, test accuracy "
            f"{100 * best['test_accuracy']:.2f} %. Its name is a model's: `{best['model']}`."
        )
        parts.append(f"![{stem.name}: the best network]({_beside(stem, 'network').name})")
    return parts


def _beside(stem: Path, what: str) -> Path:
    return stem.with_name(f"{stem.name}-{what}.svg")
