"""The rows of finished seeds, kept until all are there, so that an interrupted job goes on."""

import shutil
from pathlib import Path

from pipelines.experiments.convergence.job import ConvergenceJob
from pipelines.parallel.strategies import build_strategy
from pipelines.provenance import commit
from pipelines.results import Row, read_json, write_json


class FinishedSeeds:
    """One file a finished seed in the job's part folder.

    Args:
        job: what is run.
        data_checksum: of the prepared data.
    """

    def __init__(self, job: ConvergenceJob, data_checksum: str) -> None:
        self._job = job
        _, entry = build_strategy(job.method, job.params)
        self._digest = job.digest(entry, data_checksum)

    def drop_stale(self) -> None:
        """Remove the rows that other parameters, other data or another commit have made."""
        for path in self._job.part_folder.glob("seed-*.json"):
            part = read_json(path)
            if part["digest"] != self._digest or any(row["commit"] != commit() for row in part["rows"]):
                path.unlink()

    def missing(self) -> list[int]:
        """Return the seeds that are still to be trained."""
        return [seed for seed in self._job.seeds if not self._path(seed).is_file()]

    def write(self, seed: int, rows: list[Row]) -> None:
        """Keep the rows of a finished seed."""
        write_json(self._path(seed), {"digest": self._digest, "rows": rows})

    def join(self) -> None:
        """Write the rows of all seeds to the job's result file and remove the parts."""
        rows: list[Row] = [row for seed in self._job.seeds for row in read_json(self._path(seed))["rows"]]
        write_json(self._job.result_file, rows)
        shutil.rmtree(self._job.part_folder)

    def _path(self, seed: int) -> Path:
        return self._job.part_folder / f"seed-{seed}.json"
