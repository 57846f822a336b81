"""Results of the convergence runs: all rows, the parity tables, and the curves."""

from pipelines.data.prepared import META_FILE
from pipelines.experiments.convergence.config import ConvergenceConfig
from pipelines.experiments.convergence.equivalence import parity_rows
from pipelines.experiments.convergence.figures import draw_curves
from pipelines.experiments.convergence.job import CURVES, PARITY, RESULTS, data_folder, parity_set
from pipelines.results import Row, read_json, write_json


def summarise_curves(config: ConvergenceConfig) -> None:
    """Collect the curves of all methods; writes convergence.json and curves_WORKERS.svg in results/convergence."""
    rows: list[Row] = []
    for workers in config.workers:
        mine = [row for method in config.methods for row in read_json(CURVES / f"{method}-{workers}.json")]
        draw_curves(mine, RESULTS / f"curves_{workers}.svg")
        rows += mine
    write_json(RESULTS / "convergence.json", rows)


def summarise_parity(config: ConvergenceConfig, data: str) -> None:
    """Test the methods on one data set for the same accuracy; writes results/convergence/parity/<data>.json."""
    parity_set(config, data)
    parity = config.parity
    runs = [row for method in parity.methods for row in read_json(PARITY / data / f"{method}.json")]
    meta = read_json(data_folder(data) / META_FILE)
    facts = {
        "data": data,
        "data_checksum": meta["checksum"],
        "num_train_images": meta["num_train"],
        "num_test_images": meta["num_test"],
        "image_size_pixels": meta["image_size_pixels"],
    }
    rows = parity_rows(runs, parity.reference, parity.margin_points)
    write_json(PARITY / f"{data}.json", [facts | row for row in rows])


def join_parity(config: ConvergenceConfig) -> None:
    """Write the tables of all data sets as one, results/convergence/parity.json."""
    write_json(
        RESULTS / "parity.json",
        [row for data in config.parity.data for row in read_json(PARITY / f"{data}.json")],
    )
