"""What a slower link adds to a measured step, by the simulator."""

from dataclasses import replace

from pipelines.errors import UserError
from pipelines.results import Row
from pipelines.speedup.calibration import load_calibration
from pipelines.speedup.calibration.cells import LATENCY_SECONDS, UNSHAPED_BITS
from pipelines.speedup.calibration.store import load_trace, traced_models
from pipelines.speedup.forecast import CYCLE_SECONDS, predict_step
from pipelines.speedup.simulator import Machine, Network
from pipelines.speedup.trace import Trace


class LinkModel:
    """Simulates the runs of models and methods that have a committed trace."""

    def __init__(self) -> None:
        self.machine: Machine = replace(load_calibration().machine, cycle_seconds=CYCLE_SECONDS)
        self._traces: dict[str, Trace] = {}

    def added_seconds(self, run: Row, mbit_per_second: float) -> float | None:
        """Return what a step of `run` takes longer on this link than on one that is not shaped, at least 0.

        None where the model or the method was not traced.
        """
        if run["model"] not in traced_models():
            return None
        trace = self._traces.setdefault(run["model"], load_trace(run["model"]))
        if run["method"] not in trace.codecs:
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
