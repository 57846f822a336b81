"""Parameters of the evaluation."""

from dataclasses import dataclass

from pipelines.config import choice, require


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
        for key in ("batch_size", "calibration_bins", "latency_warmup", "latency_repeats"):
            value = getattr(self, key)
            require(value >= 1, key, value, "1 or more")
        samples = self.bootstrap_samples
        require(samples >= 20, "bootstrap_samples", samples, "20 or more")
        require(0.5 <= self.confidence < 1, "confidence", self.confidence, "0.5 to below 1")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
