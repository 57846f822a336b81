"""Rows of the sweep: medians over the blocks of the slowest worker."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.parallel.times import interquartile_range
from pipelines.results import Row

ALONE = "alone"
"""Name of the replica that exchanges nothing: the one-worker step, timed on all workers at once."""


def sweep_rows(
    gathered: Sequence[dict[str, list[tuple[float, ...]]]],
    columns: Sequence[str],
    facts: Row,
    steps_per_block: int,
) -> list[Row]:
    """Return a row a method, and one with `workers: 1`, method `alone`.

    Args:
        gathered: per worker the blocks by method, each a tuple with the fields `columns` of a `Block`.
        columns: names of these fields.
        facts: what all rows share.
        steps_per_block: timed steps of a block.
    """
    alone = slowest(gathered, ALONE)[:, columns.index("step_seconds")]
    rows = []
    for method in gathered[0]:
        times = slowest(gathered, method)
        column = {name: times[:, index] for index, name in enumerate(columns)}
        counted = float(np.median(column["wire_bytes_counted"]))
        rows.append(
            {
                **facts,
                "method": method,
                "workers": 1 if method == ALONE else facts["workers"],
                "rounds": len(times),
                "timed_steps": len(times) * steps_per_block,
                "step_seconds_median": float(np.median(column["step_seconds"])),
                "step_seconds_iqr": interquartile_range(column["step_seconds"].tolist()),
                # Paired by round: a slow spell of the machine lengthens both.
                "exposed_communication_seconds": statistics.median((column["step_seconds"] - alone).tolist()),
                "encode_seconds": float(np.median(column["encode_seconds"])),
                "decode_seconds": float(np.median(column["decode_seconds"])),
                "wire_bytes_counted_per_step": None if np.isnan(counted) else counted,
                "wire_bytes_expected_per_step": float(np.median(column["wire_bytes_expected"])),
            }
        )
    return rows


def slowest(gathered: Sequence[dict[str, list[tuple[float, ...]]]], method: str) -> NDArray[np.float64]:
    """Keep of every block the worker with the longest step: [blocks, columns], the step's time first."""
    times = np.array([worker[method] for worker in gathered], dtype=np.float64)
    worker = times[:, :, 0].argmax(axis=0)
    return np.asarray(times[worker, np.arange(times.shape[1])])
