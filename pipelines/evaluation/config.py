"""Parameters of the evaluation."""

from dataclasses import dataclass

from pipelines.config import choice, number, whole
from pipelines.config.validate import MOST_BATCH, MOST_SEED, MOST_STEPS


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Section `evaluate`: how trained models are measured on the test part."""

    batch_size: int
    """Images per forward pass over the test part."""
    device: str
    """`cpu`, `cuda`, or `auto`: a GPU if there is one."""
    calibration_bins: int
    """Bins of equal width of the expected calibration error (Guo et al. 2017 use 15)."""
    bootstrap_samples: int
    """Resamplings of the test images behind each confidence interval."""
    confidence: float
    """Share of the resampled values that an interval covers, such as 0.95."""
    seed: int
    """Seed of the resampling."""
    latency_warmup: int
    """Classified images before the clock starts."""
    latency_repeats: int
    """Timed classifications of a single image."""

    def __post_init__(self) -> None:
        choice("device", self.device, ("auto", "cpu", "cuda"))
        whole(self, "batch_size", most=MOST_BATCH)
        whole(self, "calibration_bins", most=10_000)
        whole(self, "latency_warmup", "latency_repeats", most=MOST_STEPS)
        whole(self, "bootstrap_samples", least=20, most=1_000_000)
        number(self, "confidence", least=0.5, below=1.0)
        whole(self, "seed", least=0, most=MOST_SEED)
