"""Simulated rows: the step of a model's methods against number of workers and bandwidth."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from pipelines.errors import UserError
from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row
from pipelines.speedup.calibration.prediction import programs_of
from pipelines.speedup.forecast import STEPS, WARMUP_STEPS
from pipelines.speedup.simulator import Algorithm, Machine, Network, Program, simulate

WORKERS = tuple(2**power for power in range(11))
"""1 to 1,024."""
LATENCY_SECONDS = 50e-6
"""One way between two hosts of a data centre's Ethernet, the value of the rows."""
STUDY_METHODS: Mapping[str, tuple[str, ...]] = {
    "SDP": ("sdp",),
    "SSP": ("ssp",),
    "GQ-SDP": ("gq4_bucketed", "gq8_bucketed", "gq16_bucketed", "gq4_scatter"),
}
"""The study's three, each by the fastest of these methods that can have so many workers: sums of 4 bits carry 7, of 8
bits 127, of 16 bits 32,767."""


def simulated_steps(
    trace: Trace,
    method: str,
    workers: int,
    bandwidths: Sequence[float],
    machine: Machine,
    latencies: Sequence[float] = (LATENCY_SECONDS,),
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the step of a method on each bandwidth (bits a second), [bandwidths].

    `latencies`: seconds, one for all bandwidths or one for each. Raises UserError where the method cannot have so many
    workers, or has no codec in the trace.
    """
    if method not in trace.codecs:
        raise UserError(f"{trace.model}: {method} is not traced")
    network = Network(
        workers=workers,
        bandwidth=np.array(bandwidths, dtype=np.float64)[:, None],
        latency=np.array(latencies, dtype=np.float64)[:, None],
        algorithm=Algorithm.BEST,
    )
    programs = programs_of(trace, method, trace.codecs[method].entry, workers)
    steps = [_steps(program, network, machine, len(bandwidths)) for program in programs]
    return np.asarray(np.min(steps, axis=0))


def _steps(
    program: Program, network: Network, machine: Machine, count: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    carries_over = program.pattern.staleness or program.needs
    warmup = WARMUP_STEPS if carries_over else 0
    return np.asarray(
        np.broadcast_to(simulate(program, network, machine, steps=STEPS, warmup_steps=warmup), (count,))
    )


def scaling_rows(
    trace: Trace, links_mbit: Sequence[float], machine: Machine, samples_per_epoch: float
) -> Iterator[Row]:
    """Yield a row a number of workers, link and method of the study; `source` is `simulated`.

    The batch of a worker stays that of `trace`, so an epoch of N workers has 1 / N of the steps. What the trace has no
    codec of is left out.
    """
    bandwidths = [1e6 * link for link in links_mbit]
    for name, methods in STUDY_METHODS.items():
        if not trace.codecs.keys() & set(methods):
            continue
        for workers in WORKERS:
            steps = fastest_steps(trace, methods, workers, bandwidths, machine)
            for link, (step, method) in zip(links_mbit, steps, strict=True):
                yield {
                    "model": trace.model,
                    "method": method,
                    "study_method": name,
                    "workers": workers,
                    "link": f"{link:g}mbit",
                    "link_mbit_per_second": link,
                    "latency_seconds": LATENCY_SECONDS,
                    "source": "simulated",
                    "step_seconds": step,
                    "local_step_seconds": trace.step_seconds,
                    "samples_per_second": workers * trace.batch_size / step,
                    "epoch_seconds": samples_per_epoch / (workers * trace.batch_size) * step,
                    "acceleration_ratio": workers * trace.step_seconds / step,
                }


def fastest_steps(
    trace: Trace, methods: Sequence[str], workers: int, bandwidths: Sequence[float], machine: Machine
) -> list[tuple[float, str]]:
    """Return for each bandwidth the shortest step of these methods, and whose it is.

    Methods that cannot have so many workers are left out; UserError where none is left.
    """
    steps: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    reason = None
    for method in methods:
        try:
            steps[method] = simulated_steps(trace, method, workers, bandwidths, machine)
        except UserError as error:
            reason = error
    if not steps:
        raise UserError(str(reason))
    return [
        min((float(times[number]), method) for method, times in steps.items())
        for number in range(len(bandwidths))
    ]


def crossover_rows(
    trace: Trace,
    methods: Sequence[str],
    bandwidths_mbit: Sequence[float],
    machine: Machine,
    error_of: Callable[[str], float],
) -> Iterator[Row]:
    """Yield for each bandwidth and number of workers the fastest of `methods`, and by how much it beats `sdp`.

    `error_of` returns the error of a method's predictions, as a share. `uncertainty` is that of the ratio; a smaller
    gain is none that a prediction can tell.
    """
    bandwidths = [1e6 * link for link in bandwidths_mbit]
    for workers in WORKERS[1:]:
        plain = simulated_steps(trace, "sdp", workers, bandwidths, machine)
        for link, reference, (step, method) in zip(
            bandwidths_mbit, plain, fastest_steps(trace, methods, workers, bandwidths, machine), strict=True
        ):
            yield {
                "model": trace.model,
                "workers": workers,
                "link_mbit_per_second": link,
                "latency_seconds": LATENCY_SECONDS,
                "source": "simulated",
                "method": method,
                "step_seconds": step,
                "acceleration_over_reference": float(reference) / step,
                "uncertainty": float(np.hypot(error_of(method), error_of("sdp"))),
            }
