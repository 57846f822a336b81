"""The one module that imports Horovod."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch


def load_horovod() -> ModuleType:
    """Return `horovod.torch`.

    Raises:
        ImportError: Horovod is not installed; the message says how to get it and what works without it.
    """
    try:
        import horovod.torch as hvd
    except ImportError as error:
        raise ImportError(
            "GQ over Horovod needs the package horovod (HOROVOD_WITH_PYTORCH=1 pip install horovod); "
            "horovod_gq.ddp and horovod_gq.virtual work without it"
        ) from error
    module: ModuleType = hvd
    return module


def horovod_world() -> tuple[int, int]:
    """Return (rank, number of workers).

    Raises:
        ValueError: hvd.init() has not been called.
    """
    hvd = load_horovod()
    if not hvd.is_initialized():
        raise ValueError("Horovod is not initialized: call hvd.init() before the first backward pass with GQ")
    return int(hvd.rank()), int(hvd.size())


class HorovodPending:
    """A Horovod handle whose result takes the given shape."""

    def __init__(self, hvd: ModuleType, handle: int, shape: torch.Size) -> None:
        self._hvd, self._handle, self._shape = hvd, handle, shape

    def wait(self) -> torch.Tensor:
        """Block until the result is there and return it."""
        result = self._hvd.synchronize(self._handle)
        tensor: torch.Tensor = result[0] if isinstance(result, tuple) else result
        return tensor.view(self._shape)


class HorovodCollectives:
    """Horovod's collectives, of all workers or of a process set; see `horovod_gq.collectives.Collectives`."""

    def __init__(self) -> None:
        self._hvd = load_horovod()
        self.rank, self.workers = horovod_world()
        self._among: dict[str, Any] = {}

    @classmethod
    def among(cls, ranks: list[int]) -> HorovodCollectives:
        """Return the collectives of these ranks alone (a collective of all ranks); only those, if several, start any.

        Raises:
            ValueError: Horovod was started without dynamic process sets.
        """
        self = cls()
        if 1 < len(ranks) < self.workers:
            self._among = {"process_set": _process_set(self._hvd, tuple(ranks))}
        self.workers = len(ranks)
        self.rank = ranks.index(self.rank) if self.rank in ranks else 0
        return self

    def start_sum(self, tensor: torch.Tensor, name: str) -> HorovodPending:
        """Sum over the ranks, in place."""
        handle = self._hvd.allreduce_async_(tensor, name=name, op=self._hvd.Sum, **self._among)
        return HorovodPending(self._hvd, handle, tensor.shape)

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> HorovodPending:
        """Send row k of `tensor` [N, ...] to rank k; the result's row k came from rank k."""
        handle = self._hvd.alltoall_async(tensor, name=name, **self._among)
        return HorovodPending(self._hvd, handle, tensor.shape)

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> HorovodPending:
        """Gather `tensor` of every rank; the result is [N, ...] in the order of the ranks."""
        shape = torch.Size((self.workers, *tensor.shape))
        handle = self._hvd.allgather_async(tensor[None], name=name, **self._among)
        return HorovodPending(self._hvd, handle, shape)


@functools.cache
def _process_set(hvd: ModuleType, ranks: tuple[int, ...]) -> Any:
    """Return Horovod's process set of these ranks, which can be made once."""
    try:
        return hvd.add_process_set(list(ranks))
    except ValueError as error:
        raise ValueError(
            f"Horovod cannot make a process set of the ranks {list(ranks)} ({error}); call "
            'hvd.init(process_sets="dynamic"), or set HOROVOD_DYNAMIC_PROCESS_SETS=1'
        ) from error
