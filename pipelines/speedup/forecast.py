"""A forecast: the step of every method for a model, a number of workers and a network that nobody here has."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from pipelines.errors import UserError
from pipelines.parallel.patterns import Pattern
from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row
from pipelines.speedup.calibration.prediction import programs_of
from pipelines.speedup.calibration.store import Calibration
from pipelines.speedup.simulator import Machine, Network, simulate

REFERENCE = "sdp"
STEPS, WARMUP_STEPS = 8, 8
"""Simulated steps; whole intervals of every method of the suite, and more than any staleness."""
LIBRARIES = ("gloo", "nccl")
CYCLE_SECONDS = 1e-3
"""Horovod's default period."""
STRAGGLER_SIGMA = 0.03
"""Spread of a worker's step around its mean. With it Inception V3 on Horovod's 512 GPUs, whose sums all hide behind the
backward pass, has about its published efficiency (`pipelines.speedup.published`)."""


@dataclass(frozen=True, kw_only=True)
class MethodForecast:
    """The predicted step of a method."""

    method: str
    step_seconds: float
    uncertainty: float
    """Mean absolute error of such predictions, as a share: of this method's cells in the sweep, not used to fit."""
    speedup: float
    """Samples a second of all workers over those of one."""
    over_reference: float | None
    """Step of `sdp` over this one."""
    sent_bytes: float
    """By a worker, per step."""
    same_updates: bool
    """Whether every step applies the average of its own gradients; else updates come late or every few steps."""

    def row(self) -> Row:
        """Return a flat row."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """All methods, the fastest first, and those that cannot run."""

    one_worker_seconds: float
    methods: tuple[MethodForecast, ...]
    impossible: dict[str, str]
    """Reason by method."""

    def recommended(self) -> tuple[MethodForecast, list[str]]:
        """Return what to take, and those that cannot be told from it.

        The fastest of the methods that update as `sdp` does; `sdp` itself unless the gain exceeds what both
        predictions err.
        """
        usual = [each for each in self.methods if each.same_updates]
        best = usual[0]
        close = [each for each in usual if not _told_apart(best, each)]
        plain = [each for each in close if each.method == REFERENCE]
        chosen = plain[0] if plain else best
        return chosen, [each.method for each in close if each is not chosen]


def _told_apart(fast: MethodForecast, slow: MethodForecast) -> bool:
    if np.isinf(slow.step_seconds):
        return not np.isinf(fast.step_seconds)
    error = float(np.hypot(fast.uncertainty, slow.uncertainty))
    return slow.step_seconds > fast.step_seconds * (1 + error)


def machine_for(
    calibration: Calibration,
    library: str,
    *,
    cycle_seconds: float = CYCLE_SECONDS,
    straggler_sigma: float = STRAGGLER_SIGMA,
) -> Machine:
    """Return the calibrated machine with a core of its own for the library, or for NCCL one without processor time.

    Its stragglers are not the calibrated ones: workers that share one machine disturb each other far more.

    NCCL is not calibrated: sums cost nothing beside the wire, gathers are full duplex, and calls that the host makes
    ahead of the device are free. Raises UserError on another library.
    """
    own_core = replace(
        calibration.machine,
        cycle_seconds=cycle_seconds,
        straggler_sigma=straggler_sigma,
        core_share=0.0,
        overlap_rate=1.0,
        wire_rate=1.0,
    )
    if library == "gloo":
        return own_core
    if library != "nccl":
        raise UserError(f"--library: {library!r} is not allowed; allowed: {', '.join(LIBRARIES)}")
    free = {key: 0.0 for key in vars(own_core) if key.endswith("seconds_per_byte")}
    return replace(own_core, **free, tensor_seconds=0.0, pair_factor=1.0)


def forecast(trace: Trace, network: Network, machine: Machine, calibration: Calibration) -> Forecast:
    """Predict the step of every method whose codec is in `trace`; deterministic."""
    found: dict[str, tuple[float, Pattern]] = {}
    impossible = {}
    for method in trace.codecs:
        try:
            found[method] = predict_step(trace, method, network, machine)
        except UserError as error:
            impossible[method] = str(error).removeprefix("methods.*.wire_bits: ")
    reference = found[REFERENCE][0] if REFERENCE in found else None
    forecasts = [
        MethodForecast(
            method=method,
            step_seconds=step,
            uncertainty=calibration.error_of(method),
            speedup=network.workers * trace.step_seconds / step,
            over_reference=None if reference is None or np.isinf(step) else reference / step,
            sent_bytes=pattern.sent_bytes(network.workers),
            same_updates=pattern.interval == 1 and pattern.staleness == 0,
        )
        for method, (step, pattern) in found.items()
    ]
    ordered = sorted(forecasts, key=lambda each: each.step_seconds)
    return Forecast(one_worker_seconds=trace.step_seconds, methods=tuple(ordered), impossible=impossible)


def predict_step(
    trace: Trace, method: str, network: Network, machine: Machine, *, seed: int = 0
) -> tuple[float, Pattern]:
    """Return the mean step of a method in seconds, far from its first steps, and the pattern that has it.

    Raises UserError where the method's options do not go with the number of workers.
    """
    steps = []
    programs = programs_of(trace, method, trace.codecs[method].entry, network.workers)
    for program in programs:
        carries_over = program.pattern.staleness or program.needs
        warmup = WARMUP_STEPS if carries_over else 0
        result = simulate(program, network, machine, steps=STEPS, warmup_steps=warmup, seed=seed)
        steps.append(float(result[0]))
    fastest = int(np.argmin(steps))
    return steps[fastest], programs[fastest].pattern
