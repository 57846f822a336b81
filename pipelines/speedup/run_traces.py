"""Traces of the pipeline's own runs, completed by the committed ones."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.parallel.traces.trace import Codec, Trace
from pipelines.results import Row
from pipelines.speedup.calibration.store import load_trace, traced_models


def traces_of(runs: Sequence[Row], results: Path) -> dict[str, Trace]:
    """Return a trace of each model that has one, with the step of one worker and the batch of its runs.

    Times and codecs are those that the runs have recorded (`results`/traces). Codecs of methods that were not run are
    those of the committed trace, as many times as long as the codecs that both have. Without a recorded trace
    all is the committed one's; a model with neither is left out.
    """
    found = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        mine = [run for run in runs if run["model"] == model]
        recorded = [Trace.read(path) for path in _files(mine, results)]
        committed = load_trace(model) if model in traced_models() else None
        trace = joined(recorded, committed)
        if trace is not None:
            scaled = trace.scaled_to(mine[0]["local_step_seconds_median"], codecs=False)
            found[model] = replace(scaled, batch_size=mine[0]["batch_size_per_worker"])
    return found


def _files(runs: Sequence[Row], results: Path) -> list[Path]:
    paths = [results / "traces" / f"{run['model']}-{run['method']}.json" for run in runs]
    return [path for path in paths if path.exists()]


def joined(recorded: Sequence[Trace], committed: Trace | None) -> Trace | None:
    """Return the first of the `recorded` traces with the codecs of all, and those that `committed` alone has."""
    if not recorded:
        return committed
    own = {method: codec for trace in recorded for method, codec in trace.codecs.items()}
    others = {} if committed is None else dict(committed.codecs)
    both = [(own[method], others[method]) for method in own if method in others]
    factor = codec_ratio(both)
    missing = {method: codec.scaled(factor) for method, codec in others.items() if method not in own}
    return replace(recorded[0], codecs={**own, **missing})


def codec_ratio(pairs: Sequence[tuple[Codec, Codec]]) -> float:
    """Return the median of how many times as long the first codec of a pair takes, with two workers; 1 of none."""
    ratios = [_seconds(own) / _seconds(other) for own, other in pairs if _seconds(own) > 0 < _seconds(other)]
    return float(np.median(ratios)) if ratios else 1.0


def _seconds(codec: Codec) -> float:
    return codec.encode_seconds(2) + codec.decode_seconds(2)
