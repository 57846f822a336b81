"""Results of the convergence runs: all rows, the parity table, and the curves."""

from pathlib import Path

from pipelines.convergence.config import ConvergenceConfig
from pipelines.convergence.equivalence import parity_rows
from pipelines.convergence.figures import draw_curves
from pipelines.results import Row, read_json, write_json

RESULTS = Path("results")
RUNS = RESULTS / "convergence"


def summarise(config: ConvergenceConfig) -> None:
    """Collect all runs; writes results/convergence.json, results/parity.json and the figures."""
    rows: list[Row] = []
    for workers in config.workers:
        mine = [row for method in config.methods for row in read_json(RUNS / f"{method}-{workers}.json")]
        draw_curves(mine, RESULTS / f"convergence_{workers}.svg")
        rows += mine
    write_json(RESULTS / "convergence.json", rows)
    methods = (config.parity_reference, *config.parity_methods)
    runs = [row for method in methods for row in read_json(RUNS / f"parity-{method}.json")]
    write_json(RESULTS / "parity.json", parity_rows(runs, config.parity_reference, config.margin_points))
