"""How good a network is for a search, and what an algorithm is."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """What a short training has shown of a network."""

    accuracy: float
    """On the validation part, 0..1; 0 for one that was not trained."""
    deviation: float
    """Standard deviation of the accuracy over tenths of the validation part."""
    multiply_adds: int
    """Of one image: the connections of the network."""
    seconds: float
    """What it took; no part of the rank."""
    reason: str | None
    """Why there is no accuracy: the training diverged, or the network is too large; else None."""

    @property
    def rank(self) -> tuple[float, float, int]:
        """What is compared, in this order: accuracy, less deviation, fewer connections (IPPSO, arXiv:1803.06492)."""
        return (self.accuracy, -self.deviation, -self.multiply_adds)


Proposals = Generator[Sequence[str], Sequence[Fitness], None]
"""An algorithm: yields the names of the networks of a generation, is sent their fitness in the same order."""
