"""Rows of the sweep: medians over the blocks of the slowest worker."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.parallel.metering.step_times import interquartile_range
from pipelines.results import Row

ALONE = "alone"
"""Name of the replica that exchanges nothing: the one-worker step, timed on all workers at once."""
LOCKSTEP = "lockstep"
"""Name of the replica that exchanges one number a step: what workers lose by waiting for each other, whatever they
send. It has no row of its own."""
REFERENCE = "sdp"
"""Method that the others are compared with."""

Blocks = dict[str, list[tuple[float, ...]]]
"""One worker's blocks by method, each a tuple of the fields of a `Block`."""
Columns = Mapping[str, NDArray[np.float64]]
"""The blocks of a method: an array [rounds] for every field of a `Block`."""


def sweep_rows(
    timed: Sequence[Blocks],
    counted: Sequence[Blocks],
    columns: Sequence[str],
    facts: Row,
    steps_per_block: int,
) -> list[Row]:
    """Return a row a method, and one with `workers: 1`, method `alone`; a round is one block of every method.

    `efficiency_limit` is the same in all of them: the efficiency of workers that only wait for each other.

    Args:
        timed: per worker the blocks whose times count. Methods may have further blocks after the rounds that all
            share; these count for the step's time alone.
        counted: per worker the blocks whose bytes count.
        columns: names of a block's fields.
        facts: what all rows share, `link` and `workers` among it.
        steps_per_block: timed steps of a block.
    """
    steps = {method: as_array(timed, method)[:, :, 0].max(axis=0) for method in timed[0]}
    rounds = {method: mine for method, mine, _ in slowest_blocks(timed, columns)}
    sent = {
        method: byte_values(mine, negotiation, facts["link"])
        for method, mine, negotiation in slowest_blocks(counted, columns)
    }
    return [
        {
            **facts,
            "method": method,
            "workers": 1 if method == ALONE else facts["workers"],
            "num_rounds": len(steps[method]),
            "timed_steps": len(steps[method]) * steps_per_block,
            **step_values(steps[method]),
            **paired_values(mine, rounds),
            **wire_values(mine, rounds[ALONE], facts["link"]),
            "efficiency_limit": efficiency(rounds[LOCKSTEP], rounds[ALONE]),
            **sent[method],
        }
        for method, mine in rounds.items()
        if method != LOCKSTEP
    ]


def slowest_blocks(
    gathered: Sequence[Blocks], columns: Sequence[str]
) -> Iterator[tuple[str, Columns, NDArray[np.float64]]]:
    """Yield for each method the blocks [rounds] of its slowest worker in each of the rounds that all methods share.

    With them what that worker's interface sends a second for the negotiation, in bytes: that of `alone` in its round.
    """
    shared = len(gathered[0][ALONE])
    alone = as_array(gathered, ALONE)
    # [workers, rounds]; all workers count their bytes until the slowest one is ready.
    rates = alone[:, :, list(columns).index("interface_bytes")] / alone[:, :, 0].max(axis=0)
    every = np.arange(shared)
    for method in gathered[0]:
        blocks = as_array(gathered, method)
        slowest = blocks[:, :shared, 0].argmax(axis=0)
        yield (
            method,
            dict(zip(columns, blocks[slowest, every].T, strict=True)),
            rates[slowest, every],
        )


def step_values(steps: NDArray[np.float64]) -> Row:
    """Return the values of a method's row that say how long a step takes; `steps` are the means of all its blocks."""
    return {
        "step_seconds_median": float(np.median(steps)),
        "step_seconds_iqr": interquartile_range(steps.tolist()),
        "step_seconds_by_round": steps.tolist(),
    }


def paired_values(mine: Columns, rounds: Mapping[str, Columns]) -> Row:
    """Return the values of a method's row that compare it, and the parts of its step.

    What compares methods does so within a round, because a slow spell of the machine lengthens all of its blocks:
    `step_over_sdp_median` and its quartiles, None without `sdp`, and `exposed_communication_seconds`, against the
    step of one worker.
    """
    steps, alone = mine["step_seconds"], rounds[ALONE]["step_seconds"]
    over = steps / rounds[REFERENCE]["step_seconds"] if REFERENCE in rounds else None
    quartiles = {"low_quartile": 0.25, "median": 0.5, "high_quartile": 0.75}
    return {
        **{
            f"step_over_{REFERENCE}_{name}": None if over is None else float(np.quantile(over, part))
            for name, part in quartiles.items()
        },
        "one_worker_step_seconds_median": float(np.median(alone)),
        "exposed_communication_seconds": float(np.median(steps - alone)),
        "encode_seconds": float(np.median(mine["encode_seconds"])),
        "decode_seconds": float(np.median(mine["decode_seconds"])),
    }


def wire_values(mine: Columns, alone: Columns, link: str) -> Row:
    """Return the values of a method's row that say how far its step is from that of one worker.

    `efficiency`, see there. `wire_seconds`: how long the payload takes on the link at its rate; `hidden_wire_seconds`:
    what of it is not exposed, because the worker computed meanwhile; both None on a link that is not shaped.
    """
    row: Row = {"efficiency": efficiency(mine, alone)}
    wire = mine["payload_bytes"] * seconds_per_byte(link)
    hidden = np.maximum(wire - np.maximum(mine["step_seconds"] - alone["step_seconds"], 0.0), 0.0)
    known = link != UNSHAPED
    row["wire_seconds"] = float(np.median(wire)) if known else None
    row["hidden_wire_seconds"] = float(np.median(hidden)) if known else None
    return row


def efficiency(mine: Columns, alone: Columns) -> float:
    """Return the step of one worker that exchanges nothing over the method's, the median of all rounds."""
    return float(np.median(alone["step_seconds"] / mine["step_seconds"]))


def byte_values(mine: Columns, negotiation: NDArray[np.float64], link: str) -> Row:
    """Return the values of a method's row that say what a worker sends in a step.

    `wire_bytes_counted_per_step` is what the interface sent (`interface_bytes_per_step`) less what Horovod's
    negotiation sends on its own (`control_bytes_per_step`), round by round: its bytes per second in the block of
    `alone` of the same round and worker (`negotiation`) times the part of the step in which no collective is under
    way. Horovod's one background thread runs the collectives too, so it does not negotiate meanwhile; they last at
    least as long as their payload takes on the link.
    """
    idle_seconds = np.maximum(mine["step_seconds"] - mine["payload_bytes"] * seconds_per_byte(link), 0.0)
    control = negotiation * idle_seconds
    return {
        "wire_bytes_expected_per_step": float(np.median(mine["payload_bytes"])),
        "wire_bytes_counted_per_step": float(np.median(mine["interface_bytes"] - control)),
        "interface_bytes_per_step": float(np.median(mine["interface_bytes"])),
        "control_bytes_per_step": float(np.median(control)),
    }


def seconds_per_byte(link: str) -> float:
    """Return how long a byte takes on the link at its rate; 0 on one that is not shaped."""
    return 0.0 if link == UNSHAPED else 8 / parse_rate(link)


def as_array(gathered: Sequence[Blocks], method: str) -> NDArray[np.float64]:
    """Return the blocks of a method as [workers, blocks, columns], the step's time first."""
    return np.array([worker[method] for worker in gathered], dtype=np.float64)


def ratio_to_reference(row: Row, rows: list[Row]) -> float | None:
    """Return how many times the step of `sdp` on the same model, link and workers is as long; None without one."""
    keys = ("model", "link", "workers")
    for other in rows:
        if other["method"] == REFERENCE and all(other[key] == row[key] for key in keys):
            return float(other["step_seconds_median"] / row["step_seconds_median"])
    return None
