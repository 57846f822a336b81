"""One slow link in the main pipeline: the distributed runs' steps, measured between emulated nodes."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from pipelines.cluster import EmulatedCluster, requirements
from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.experiments.sweep.config import SlowLinkConfig, SweepConfig
from pipelines.experiments.sweep.job import SweepJob
from pipelines.experiments.sweep.launch import measure
from pipelines.parallel.config import DistributedConfig
from pipelines.results import Row, write_json
from pipelines.training.sections import shared_sections

SECTION = "slow_link"
RESULT = Path("results/slow_link.json")
AGAIN = "`dvc repro --force slow_link` measures them where it can be"


def measure_slow_link(params: Path, program: Sequence[str]) -> None:
    """Write `RESULT`: the rows of the measured cells, or none and the reason, which is printed in one line.

    `program` is a worker's command line but for `--model` and `--link`, as arguments of Python. Raises UserError for
    parameters that are not allowed, and where a run fails on a cluster that could be built.
    """
    config = load_section(SlowLinkConfig, SECTION, params)
    distributed = load_section(DistributedConfig, "distributed", params)
    try:
        sweep = config.sweep_of(distributed)
        check_cluster(sweep)
    except UserError as error:
        print(f"{SECTION}: not measured, its rows are predicted: {error}; {AGAIN}", flush=True)
        write_json(RESULT, {"measured": False, "reason": str(error), "rows": []})
        return
    rows: list[Row] = []
    for model, link in product(sweep.models, sweep.links):
        rows += measure(load_job(model, link, params), [*program, "--model", model, "--link", link])
    write_json(RESULT, {"measured": True, "reason": None, "rows": rows})


def check_cluster(sweep: SweepConfig) -> None:
    """Raise UserError, in one line, where this machine cannot build such a cluster, shaped links included."""
    requirements.check()
    for link in sweep.links:
        with EmulatedCluster(nodes=sweep.workers[0], rate=link):
            pass


def load_job(model: str, link: str, params: Path) -> SweepJob:
    """Read the measurements of one model on one link from `params`; UserError on values that are not allowed."""
    distributed = load_section(DistributedConfig, "distributed", params)
    sweep = load_section(SlowLinkConfig, SECTION, params).sweep_of(distributed)
    shared = shared_sections(params)
    return SweepJob(model=model, link=link, sweep=sweep, section=SECTION, params=params, **shared)
