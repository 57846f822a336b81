"""Parameters of the speed-up analysis: section `speedup` of params.yaml."""

from dataclasses import dataclass

from pipelines.config import different, number


@dataclass(frozen=True, kw_only=True)
class SpeedupConfig:
    """What the speed-up stage predicts beside what was measured; section `speedup`."""

    reference: str
    """Method that the others are compared with; a key of the section `methods`."""
    links_mbit_per_second: tuple[float, ...]
    """Bandwidths of the links for which step times are predicted, in Mbit/s."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        number(self, "links_mbit_per_second", above=0.0, most=1e7)
        different(self, "links_mbit_per_second")
