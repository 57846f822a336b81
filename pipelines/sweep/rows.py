"""Rows of the sweep: medians over the blocks of the slowest worker."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.parallel.times import interquartile_range
from pipelines.results import Row

ALONE = "alone"
"""Name of the replica that exchanges nothing: the one-worker step, timed on all workers at once."""
REFERENCE = "sdp"
"""Method that the others are compared with."""


def sweep_rows(
    gathered: Sequence[dict[str, list[tuple[float, ...]]]],
    columns: Sequence[str],
    facts: Row,
    steps_per_block: int,
) -> list[Row]:
    """Return a row a method, and one with `workers: 1`, method `alone`.

    `wire_bytes_counted_per_step` is what the interface sent (`interface_bytes_per_step`) less what Horovod's
    negotiation sends on its own (`control_bytes_per_step`): its rate in the blocks of `alone` times the part of the
    step in which no collective is under way. Horovod's one background thread runs the collectives too, so it does
    not negotiate meanwhile; they last at least as long as their payload takes on the link.

    Args:
        gathered: per worker the blocks by method, each a tuple with the fields `columns` of a `Block`.
        columns: names of these fields.
        facts: what all rows share, `link` and `workers` among it.
        steps_per_block: timed steps of a block.
    """
    alone = slowest(gathered, ALONE)
    alone_seconds = alone[:, columns.index("step_seconds")]
    control_rate = float(np.median(alone[:, columns.index("interface_bytes")] / alone_seconds))
    rows = []
    for method in gathered[0]:
        times = slowest(gathered, method)
        column = {name: times[:, index] for index, name in enumerate(columns)}
        interface = float(np.median(column["interface_bytes"]))
        wire_seconds = column["payload_bytes"] * seconds_per_byte(facts["link"])
        control = control_rate * float(np.median(np.maximum(column["step_seconds"] - wire_seconds, 0.0)))
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
                "exposed_communication_seconds": statistics.median(
                    (column["step_seconds"] - alone_seconds).tolist()
                ),
                "encode_seconds": float(np.median(column["encode_seconds"])),
                "decode_seconds": float(np.median(column["decode_seconds"])),
                "wire_bytes_expected_per_step": float(np.median(column["payload_bytes"])),
                "wire_bytes_counted_per_step": interface - control,
                "interface_bytes_per_step": interface,
                "control_bytes_per_step": control,
            }
        )
    return rows


def seconds_per_byte(link: str) -> float:
    """Return how long a byte takes on the link at its rate; 0 on one that is not shaped."""
    return 0.0 if link == UNSHAPED else 8 / parse_rate(link)


def slowest(gathered: Sequence[dict[str, list[tuple[float, ...]]]], method: str) -> NDArray[np.float64]:
    """Keep of every block the worker with the longest step: [blocks, columns], the step's time first."""
    times = np.array([worker[method] for worker in gathered], dtype=np.float64)
    worker = times[:, :, 0].argmax(axis=0)
    return np.asarray(times[worker, np.arange(times.shape[1])])


def ratio_to_reference(row: Row, rows: list[Row]) -> float | None:
    """Return how many times the step of `sdp` on the same model, link and workers is as long; None without one."""
    keys = ("model", "link", "workers")
    for other in rows:
        if other["method"] == REFERENCE and all(other[key] == row[key] for key in keys):
            return float(other["step_seconds_median"] / row["step_seconds_median"])
    return None
