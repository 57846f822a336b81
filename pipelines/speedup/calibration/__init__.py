"""Free parameters of the simulator, fitted on cells of the sweep and judged on others."""

from pipelines.speedup.calibration.store import Calibration, load_calibration

__all__ = ["Calibration", "load_calibration"]
