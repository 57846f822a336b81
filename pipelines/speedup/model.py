"""Speed-up rows: what was measured, and what the measured parts predict for slower links.

Terms, per model and method, with N workers and the same number b of samples per worker and step:

- local step: a step without any exchange, timed in the same run on all workers at once;
- acceleration ratio = samples per second of N workers / samples per second of one worker
  = N * local step / step;
- ratio to the reference method = its step / this method's step.

The prediction for a link adds to the measured step what a simulated step (`pipelines.speedup.simulator`) takes longer
on that link than on one that is not shaped. Nothing that was measured is taken away: where the network is memory, what
a worker waits for is the summing, Horovod's cycles and the slower worker, and a real link spares it none of them.
`python -m benchmarks.speedup_model` holds the simulator against the steps of the sweep (docs/speedup_model.md). Models
and methods without a committed trace get the time of the bytes that a worker sends instead, with nothing hidden behind
the backward pass. Rows are marked `predicted`, and `predicted_by` says how. A cell that the stage slow_link has
measured on an emulated link is `measured`, with the prediction beside it (`predicted_step_seconds`).
"""

from collections.abc import Callable, Sequence

from pipelines.cluster.spec import parse_rate
from pipelines.errors import UserError
from pipelines.results import Row
from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.link import LinkModel

BITS_PER_BYTE = 8
BITS_PER_MEGABIT = 1e6


def link_seconds(sent_bytes: float, mbit_per_second: float) -> float:
    """Return the seconds that a link of so many Mbit/s needs for the bytes that a worker sends."""
    return sent_bytes * BITS_PER_BYTE / (mbit_per_second * BITS_PER_MEGABIT)


ErrorOf = Callable[[str], float | None]


def is_local(row: Row) -> bool:
    """Tell whether a speed-up row is a distributed run as it was measured, on no emulated or predicted link."""
    return row["link_mbit_per_second"] is None


def speedup_rows(
    runs: Sequence[Row],
    config: SpeedupConfig,
    links_model: LinkModel | None,
    on_links: Sequence[Row] = (),
    error_of: ErrorOf = lambda _: None,
) -> list[Row]:
    """Return a row per model, method and link: that of the run first, then those of the slower links.

    Args:
        runs: rows of the distributed runs.
        config: its links are predicted for all runs, beside those of `on_links`.
        links_model: simulates what a link adds; None: bytes over bandwidth.
        on_links: measured rows of the stage slow_link, as of a sweep; a cell of them is not predicted.
        error_of: mean absolute error of the simulator's predictions of a method, as a share; None: not known.

    Raises UserError where the reference method has no row.
    """
    cells = {(row["model"], row["method"], link_mbit(row)): row for row in on_links if row["workers"] > 1}
    rows = []
    for model in dict.fromkeys(run["model"] for run in runs):
        measured = [link for name, _, link in cells if name == model]
        for link in (None, *dict.fromkeys([*config.links_mbit_per_second, *measured])):
            for run in (each for each in runs if each["model"] == model):
                row = _local_row(run) if link is None else _predicted_row(run, link, links_model, error_of)
                cell = cells.get((model, run["method"], link)) if link is not None else None
                rows.append(row if cell is None else _measured_row(row, cell, run))
    references = {(row["model"], row["link"]): row for row in rows if row["method"] == config.reference}
    for row in rows:
        reference = references.get((row["model"], row["link"]))
        if reference is None:
            methods = ", ".join(sorted({run["method"] for run in runs}))
            raise UserError(
                f"speedup.reference: {config.reference!r} was not run for {row['model']}; methods run: {methods}"
            )
        # A prediction is compared with a prediction, also where the reference was measured on that link.
        key = "predicted_step_seconds" if row["source"] == "predicted" else "step_seconds"
        row["acceleration_over_reference"] = reference[key] / row["step_seconds"]
    return rows


def link_mbit(row: Row) -> float:
    """Return the bandwidth of a row that was measured on an emulated link, in Mbit/s."""
    return parse_rate(row["link"]) / BITS_PER_MEGABIT


def _local_row(run: Row) -> Row:
    """Build the row of a run as it was measured."""
    step, local = run["step_seconds_median"], run["local_step_seconds_median"]
    return {
        "model": run["model"],
        "method": run["method"],
        "workers": run["workers"],
        "link": "measured",
        "link_mbit_per_second": None,
        "source": "measured",
        "predicted_by": None,
        "predicted_step_seconds": None,
        "predicted_acceleration_ratio": None,
        "prediction_error": None,
        "compute_seconds": run["compute_seconds_median"],
        "encode_seconds": run["encode_seconds_median"],
        "communication_seconds": run["communication_seconds_median"],
        "decode_seconds": run["decode_seconds_median"],
        "local_step_seconds": local,
        "wire_bytes_per_step": run["wire_bytes_per_step"],
        "sent_bytes_per_step": run["sent_bytes_per_step"],
        **_follows(run, step, local),
    }


def _predicted_row(run: Row, link: float, links_model: LinkModel | None, error_of: ErrorOf) -> Row:
    """Build the row of a run as it is predicted for a link of so many Mbit/s."""
    added = None if links_model is None else links_model.added_seconds(run, link)
    predicted_by = "bytes" if added is None else "simulator"
    if added is None:
        added = link_seconds(run["sent_bytes_per_step"], link)
    step = run["step_seconds_median"] + added
    follows = _follows(run, step, run["local_step_seconds_median"])
    return {
        **_local_row(run),
        "link": f"{link:g}mbit",
        "link_mbit_per_second": link,
        "source": "predicted",
        "predicted_by": predicted_by,
        "predicted_step_seconds": step,
        "predicted_acceleration_ratio": follows["acceleration_ratio"],
        "prediction_error": error_of(run["method"]) if predicted_by == "simulator" else None,
        "communication_seconds": run["communication_seconds_median"] + added,
        **follows,
    }


def _measured_row(predicted: Row, cell: Row, run: Row) -> Row:
    """Build the row of a run as `cell` measured it on an emulated link; its prediction stays beside it."""
    step, local = cell["step_seconds_median"], cell["one_worker_step_seconds_median"]
    encode, decode = cell["encode_seconds"], cell["decode_seconds"]
    waiting = max(cell["exposed_communication_seconds"] - encode - decode, 0.0)
    return {
        **predicted,
        "source": "measured",
        "compute_seconds": step - encode - decode - waiting,
        "encode_seconds": encode,
        "communication_seconds": waiting,
        "decode_seconds": decode,
        "local_step_seconds": local,
        **_follows(run, step, local),
    }


def _follows(run: Row, step: float, local: float) -> Row:
    """Return what follows from the seconds of a step and of one worker's."""
    return {
        "step_seconds": step,
        "samples_per_second": run["workers"] * run["batch_size_per_worker"] / step,
        "epoch_seconds": run["steps"] / run["epochs"] * step,
        "acceleration_ratio": run["workers"] * local / step,
    }
