"""What a slower link adds to a measured step, by the simulator."""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.errors import UserError
from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row
from pipelines.speedup.calibration import load_calibration
from pipelines.speedup.calibration.cells import LATENCY_SECONDS, UNSHAPED_BITS
from pipelines.speedup.forecast import CYCLE_SECONDS, predict_step
from pipelines.speedup.simulator import Machine, Network


class LinkModel:
    """Simulates the runs of models and methods that have a trace; `traces` by model, see `traces_of`."""

    def __init__(self, traces: Mapping[str, Trace]) -> None:
        self.machine: Machine = replace(load_calibration().machine, cycle_seconds=CYCLE_SECONDS)
        self._traces = traces

    def added_seconds(self, run: Row, mbit_per_second: float) -> float | None:
        """Return what a step of `run` takes longer on this link than on one that is not shaped, at least 0.

        None where the model or the method was not traced.
        """
        trace = self._traces.get(run["model"])
        if trace is None or run["method"] not in trace.codecs:
            return None
        scaled = trace.scaled_to(run["local_step_seconds_median"], codecs=False)
        try:
            slow, fast = (
                predict_step(scaled, run["method"], self._network(run, bits), self.machine)[0]
                for bits in (1e6 * mbit_per_second, UNSHAPED_BITS)
            )
        except UserError:
            return None
        return max(0.0, slow - fast)

    def _network(self, run: Row, bits_per_second: float) -> Network:
        return Network(workers=run["workers"], bandwidth=bits_per_second, latency=LATENCY_SECONDS)
