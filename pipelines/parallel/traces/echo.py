"""Collectives that answer at once, as if N equal workers had sent the same message: to time a codec alone."""

from collections.abc import Callable

import torch


class _Answer:
    def __init__(self, make: Callable[[], torch.Tensor]) -> None:
        self._make = make

    def wait(self) -> torch.Tensor:
        """Return what the collective would have brought."""
        return self._make()


class EchoCollectives:
    """Rank 0 of N workers that all send what this one sends; see `horovod_gq.collectives.Collectives`.

    What an answer costs is spent in its `wait`, and so counts as communication.
    """

    rank = 0

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def start_sum(self, tensor: torch.Tensor, name: str) -> _Answer:  # noqa: ARG002
        """Multiply by N, in place."""
        return _Answer(lambda: tensor.mul_(self.workers))

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> _Answer:  # noqa: ARG002
        """Return this rank's own row N times: every worker has the same one for it."""
        return _Answer(lambda: tensor[:1].expand_as(tensor).clone())

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> _Answer:  # noqa: ARG002
        """Return the message N times, [N, ...]."""
        return _Answer(lambda: tensor.expand(self.workers, *tensor.shape).clone())
