"""Parameters of the speed-up analysis: section `speedup` of params.yaml."""

from dataclasses import dataclass

from pipelines.config import different, number

MOST_PRICE = 1e6


@dataclass(frozen=True, kw_only=True)
class SpeedupConfig:
    """What the speed-up stage predicts beside what was measured; section `speedup`."""

    reference: str
    """Method that the others are compared with; a key of the section `methods`."""
    links_mbit_per_second: tuple[float, ...]
    """Bandwidths of the links for which step times are predicted, in Mbit/s."""
    target_accuracy: float
    """Test accuracy whose cost is worked out, as a share."""
    price_per_worker_hour: float
    """Of one worker, in a currency of yours; 0: workers cost nothing."""
    price_per_gigabyte: float
    """Of a gigabyte (10^9 bytes) that a worker sends, in the same currency; 0: the network costs nothing."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "links_mbit_per_second", above=0.0, most=1e7)
        different(self, "links_mbit_per_second")
        number(self, "target_accuracy", above=0.0, most=1.0)
        number(self, "price_per_worker_hour", "price_per_gigabyte", least=0.0, most=MOST_PRICE)
