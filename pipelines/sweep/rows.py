"""Rows of the sweep: medians over the blocks of the slowest worker."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.parallel.times import interquartile_range
from pipelines.results import Row

ALONE = "alone"
"""Name of the replica that exchanges nothing: the one-worker step, timed on all workers at once."""
REFERENCE = "sdp"
"""Method that the others are compared with."""

Columns = Mapping[str, NDArray[np.float64]]
"""The blocks of a method: an array [rounds] for every field of a `Block`."""


def sweep_rows(
    gathered: Sequence[dict[str, list[tuple[float, ...]]]],
    columns: Sequence[str],
    facts: Row,
    steps_per_block: int,
) -> list[Row]:
    """Return a row a method, and one with `workers: 1`, method `alone`; a round is one block of every method.

    Args:
        gathered: per worker the blocks by method, each a tuple with the fields `columns` of a `Block`.
        columns: names of these fields.
        facts: what all rows share, `link` and `workers` among it.
        steps_per_block: timed steps of a block.
    """
    blocks = {method: dict(zip(columns, slowest(gathered, method).T, strict=True)) for method in gathered[0]}
    return [
        {
            **facts,
            "method": method,
            "workers": 1 if method == ALONE else facts["workers"],
            "num_rounds": len(mine["step_seconds"]),
            "timed_steps": len(mine["step_seconds"]) * steps_per_block,
            **step_values(mine, blocks),
            **byte_values(mine, blocks[ALONE], facts["link"]),
        }
        for method, mine in blocks.items()
    ]


def step_values(mine: Columns, blocks: Mapping[str, Columns]) -> Row:
    """Return the values of a method's row that say how long a step takes.

    `step_seconds_by_round` holds a block's mean step. What compares methods does so within a round, because a slow
    spell of the machine lengthens all of its blocks: `step_over_sdp_median` and its quartiles, None without `sdp`,
    and `exposed_communication_seconds`, against the step of one worker.
    """
    steps, alone = mine["step_seconds"], blocks[ALONE]["step_seconds"]
    over = steps / blocks[REFERENCE]["step_seconds"] if REFERENCE in blocks else None
    quartiles = {"low_quartile": 0.25, "median": 0.5, "high_quartile": 0.75}
    return {
        "step_seconds_median": float(np.median(steps)),
        "step_seconds_iqr": interquartile_range(steps.tolist()),
        "step_seconds_by_round": steps.tolist(),
        **{
            f"step_over_{REFERENCE}_{name}": None if over is None else float(np.quantile(over, part))
            for name, part in quartiles.items()
        },
        "one_worker_step_seconds_median": float(np.median(alone)),
        "exposed_communication_seconds": float(np.median(steps - alone)),
        "encode_seconds": float(np.median(mine["encode_seconds"])),
        "decode_seconds": float(np.median(mine["decode_seconds"])),
    }


def byte_values(mine: Columns, alone: Columns, link: str) -> Row:
    """Return the values of a method's row that say what a worker sends in a step.

    `wire_bytes_counted_per_step` is what the interface sent (`interface_bytes_per_step`) less what Horovod's
    negotiation sends on its own (`control_bytes_per_step`): its rate in the blocks of `alone` times the part of the
    step in which no collective is under way. Horovod's one background thread runs the collectives too, so it does
    not negotiate meanwhile; they last at least as long as their payload takes on the link.
    """
    interface = float(np.median(mine["interface_bytes"]))
    rate = float(np.median(alone["interface_bytes"] / alone["step_seconds"]))
    idle_seconds = np.maximum(mine["step_seconds"] - mine["payload_bytes"] * seconds_per_byte(link), 0.0)
    control = rate * float(np.median(idle_seconds))
    return {
        "wire_bytes_expected_per_step": float(np.median(mine["payload_bytes"])),
        "wire_bytes_counted_per_step": interface - control,
        "interface_bytes_per_step": interface,
        "control_bytes_per_step": control,
    }


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
