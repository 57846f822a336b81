"""Predicted steps of cells, for one machine or several at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines.parallel.patterns import Apply, Number, Pattern
from pipelines.parallel.strategies import strategy_of
from pipelines.parallel.strategy import Strategy
from pipelines.parallel.traces.trace import FREE, Codec, Trace
from pipelines.speedup.calibration.cells import LATENCY_SECONDS, Cell
from pipelines.speedup.simulator import Machine, Network, Program, build_program, simulate
from pipelines.speedup.simulator.network import Values

BLOCK_STEPS = 4
"""Steps of a block of the sweep, at whose end all is applied: `sweep.steps_per_round`."""


def programs_of(trace: Trace, method: str, entry: Mapping[str, object], workers: int) -> list[Program]:
    """Return what the method's workers do in a step; several where it chooses the fastest by itself.

    Raises UserError where the method's options do not go with the number of workers.
    """
    strategy = strategy_of(dict(entry), f"methods.{method}")
    patterns = strategy.alternatives(trace.tensors, workers)
    if method in trace.codecs:
        return [build_program(pattern, trace, trace.codecs[method], workers) for pattern in patterns]
    known = _codecs_by_pattern(trace, workers)
    return [build_program(pattern, trace, _codec_of(pattern, known, trace), workers) for pattern in patterns]


def _codecs_by_pattern(trace: Trace, workers: int) -> dict[Pattern, Codec]:
    """Return the codecs of all methods that could run with so many workers, by their patterns."""
    found = {}
    for method, codec in trace.codecs.items():
        strategy: Strategy = strategy_of(dict(codec.entry), f"methods.{method}")
        try:
            found[strategy.pattern(trace.tensors, workers)] = codec
        except ValueError:
            continue
    return found


def _codec_of(pattern: Pattern, known: Mapping[Pattern, Codec], trace: Trace) -> Codec:
    """Return the codec of a method with this pattern, or with the same but for when sums are applied.

    Else, where it sends integers, that of the method which sends the most similar number of bytes by messages of the
    same kind; else that of fp16 sums, or none for fp32.
    """
    for same in (pattern, *(replace(pattern, apply=apply) for apply in Apply)):
        if same in known:
            return known[same]
    alike = [other for other in known if _kind(other) == _kind(pattern)]
    numbers = {message.number for each in pattern.exchanges for message in each.rounds}
    if alike and numbers & {Number.INT32, Number.BYTES}:
        return known[min(alike, key=lambda other: abs(other.wire_bytes() - pattern.wire_bytes()))]
    halves = any(m.number is Number.FP16 for each in pattern.exchanges for m in each.rounds)
    return trace.codecs.get("sdp_fp16", FREE) if halves else FREE


def _kind(pattern: Pattern) -> tuple[object, ...]:
    """Return what patterns must share for their codecs to cost alike: how, and how often, the largest exchange goes."""
    largest = max(pattern.exchanges, key=lambda each: sum(message.num_bytes for message in each.rounds))
    rounds = tuple((message.collective, message.number) for message in largest.rounds)
    return rounds, pattern.one_message_a_tensor, pattern.interval, pattern.staleness


class CellPredictor:
    """Predicts the steps of cells; what does not depend on the machine is worked out once.

    Args:
        cells: what is to be predicted.
        traces: by model and batch size.
        entries: of the section `methods`, by method.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        traces: Mapping[tuple[str, int], Trace],
        entries: Mapping[str, Mapping[str, object]],
    ) -> None:
        self.cells, self.traces = list(cells), traces
        groups: dict[tuple[tuple[str, int], str, int], list[int]] = {}
        for number, cell in enumerate(cells):
            groups.setdefault((cell.traced, cell.method, cell.workers), []).append(number)
        self._groups = [
            (members, programs_of(traces[traced], method, entries[method], workers))
            for (traced, method, workers), members in groups.items()
        ]

    def predict(self, machine: Machine) -> NDArray[np.float64]:
        """Return the predicted step of each cell in seconds, [machines, cells].

        The numbers of `machine` may be arrays [machines, 1], for several at once; `cycle_seconds` is the cell's.
        """
        machines = max(np.size(value) for value in vars(machine).values())
        predicted = np.empty((machines, len(self.cells)))
        for members, programs in self._groups:
            cells = [self.cells[member] for member in members]
            steps = [self._simulate(program, cells, machine, machines) for program in programs]
            predicted[:, members] = np.min(steps, axis=0)
        return predicted

    def _simulate(
        self, program: Program, cells: Sequence[Cell], machine: Machine, machines: int
    ) -> NDArray[np.float64]:
        """Simulate a block of every cell on every machine at once; returns [machines, cells]."""

        def of_cells(values: Sequence[float]) -> NDArray[np.float64]:
            return np.tile(values, machines)[:, None]

        def of_machines(value: Values) -> NDArray[np.float64]:
            return np.repeat(np.broadcast_to(value, (machines, 1)), len(cells), axis=0)

        repeated = Machine(**{key: of_machines(value) for key, value in vars(machine).items()})
        repeated = repeated.crowded(of_cells([cell.crowding for cell in cells]))
        network = Network(
            workers=cells[0].workers,
            bandwidth=of_cells([cell.bandwidth for cell in cells]),
            latency=LATENCY_SECONDS,
        )
        recorded = self.traces[cells[0].traced].step_seconds
        seconds = simulate(
            program,
            network,
            replace(repeated, cycle_seconds=of_cells([cell.cycle_seconds for cell in cells])),
            steps=BLOCK_STEPS,
            flush=True,
            scale=of_cells([cell.alone_seconds / recorded for cell in cells]),
        )
        return seconds.reshape(machines, len(cells))
