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
the backward pass. Rows are marked `predicted`, and `predicted_by` says how.
"""

from pipelines.errors import UserError
from pipelines.results import Row
from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.link import LinkModel

BITS_PER_BYTE = 8
BITS_PER_MEGABIT = 1e6


def link_seconds(sent_bytes: float, mbit_per_second: float) -> float:
    """Return the seconds that a link of so many Mbit/s needs for the bytes that a worker sends."""
    return sent_bytes * BITS_PER_BYTE / (mbit_per_second * BITS_PER_MEGABIT)


def speedup_rows(measured: list[Row], config: SpeedupConfig, links_model: LinkModel | None) -> list[Row]:
    """Return a row per model, method and link: the measured link first, then the predicted ones.

    `measured` are rows of the distributed runs; `links_model` simulates what a link adds, None: bytes over
    bandwidth. Raises UserError where the reference method has no row.
    """
    links: tuple[float | None, ...] = (None, *config.links_mbit_per_second)
    models = dict.fromkeys(run["model"] for run in measured)
    rows = [
        _row(run, link, links_model)
        for model in models
        for link in links
        for run in measured
        if run["model"] == model
    ]
    references = {(row["model"], row["link"]): row for row in rows if row["method"] == config.reference}
    for row in rows:
        reference = references.get((row["model"], row["link"]))
        if reference is None:
            methods = ", ".join(sorted({run["method"] for run in measured}))
            raise UserError(
                f"speedup.reference: {config.reference!r} was not run for {row['model']}; methods run: {methods}"
            )
        row["acceleration_over_reference"] = reference["step_seconds"] / row["step_seconds"]
    return rows


def _row(run: Row, link: float | None, links_model: LinkModel | None) -> Row:
    """Build one row: measured where `link` is None, else predicted for that many Mbit/s."""
    sent, step = run["sent_bytes_per_step"], run["step_seconds_median"]
    communication = run["communication_seconds_median"]
    predicted_by = None
    if link is not None:
        added = None if links_model is None else links_model.added_seconds(run, link)
        predicted_by = "bytes" if added is None else "simulator"
        added = link_seconds(sent, link) if added is None else added
        step += added
        communication += added
    local = run["local_step_seconds_median"]
    samples = run["workers"] * run["batch_size_per_worker"]
    return {
        "model": run["model"],
        "method": run["method"],
        "workers": run["workers"],
        "link": "measured" if link is None else f"{link:g}mbit",
        "link_mbit_per_second": link,
        "source": "measured" if link is None else "predicted",
        "predicted_by": predicted_by,
        "step_seconds": step,
        "compute_seconds": run["compute_seconds_median"],
        "encode_seconds": run["encode_seconds_median"],
        "communication_seconds": communication,
        "decode_seconds": run["decode_seconds_median"],
        "local_step_seconds": local,
        "wire_bytes_per_step": run["wire_bytes_per_step"],
        "sent_bytes_per_step": sent,
        "samples_per_second": samples / step,
        "epoch_seconds": run["steps"] / run["epochs"] * step,
        "acceleration_ratio": run["workers"] * local / step,
    }
