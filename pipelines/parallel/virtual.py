"""N workers as threads of one process, with collectives between them: every strategy without Horovod.

For tests, and for convergence at more workers than there are cores. Sums are made in rank order, so a run is
deterministic, and with two workers its sums have the bits of Horovod's.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import torch

from horovod_gq.collectives import Collectives

Result = TypeVar("Result")
Key = tuple[str, int]


class _Board:
    """Where the workers leave tensors for each other."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.failed = False
        self.changed = threading.Condition()
        self._sent: dict[Key, dict[int, torch.Tensor]] = {}
        self._readers: dict[Key, int] = {}

    def put(self, key: Key, rank: int, tensor: torch.Tensor) -> None:
        with self.changed:
            self._sent.setdefault(key, {})[rank] = tensor.detach().clone()
            self.changed.notify_all()

    def take(self, key: Key) -> list[torch.Tensor]:
        """Return the tensors of all ranks, in their order; blocks until they are there."""
        with self.changed:
            self.changed.wait_for(lambda: self.failed or len(self._sent[key]) == self.workers)
            if self.failed:
                raise RuntimeError("another worker failed")
            tensors = [self._sent[key][rank] for rank in range(self.workers)]
            self._readers[key] = self._readers.get(key, 0) + 1
            if self._readers[key] == self.workers:
                del self._sent[key], self._readers[key]
            return tensors

    def fail(self) -> None:
        with self.changed:
            self.failed = True
            self.changed.notify_all()


class _Pending:
    def __init__(
        self, board: _Board, key: Key, combine: Callable[[list[torch.Tensor]], torch.Tensor]
    ) -> None:
        self._board, self._key, self._combine = board, key, combine

    def wait(self) -> torch.Tensor:
        """Block until all workers have started this collective; return its result."""
        return self._combine(self._board.take(self._key))


class ThreadCollectives:
    """The collectives of one worker; see `horovod_gq.collectives.Collectives`.

    Collectives are matched by their order, not by name: GQ numbers its instances in a process.
    """

    def __init__(self, board: _Board, rank: int) -> None:
        self.rank, self.workers = rank, board.workers
        self._board = board
        self._calls = 0

    def start_sum(self, tensor: torch.Tensor, name: str) -> _Pending:  # noqa: ARG002
        """Sum over the workers, in place."""

        def combine(tensors: list[torch.Tensor]) -> torch.Tensor:
            tensor.copy_(tensors[0])
            for other in tensors[1:]:
                tensor.add_(other)
            return tensor

        return self._start("sum", tensor, combine)

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> _Pending:  # noqa: ARG002
        """Send row k of `tensor` [N, ...] to worker k; the result's row k came from worker k."""
        return self._start("all_to_all", tensor, lambda tensors: torch.stack([t[self.rank] for t in tensors]))

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> _Pending:  # noqa: ARG002
        """Gather `tensor` of every worker, [N, ...]."""
        return self._start("gather", tensor, torch.stack)

    def _start(
        self, kind: str, tensor: torch.Tensor, combine: Callable[[list[torch.Tensor]], torch.Tensor]
    ) -> _Pending:
        key = (kind, self._calls)
        self._calls += 1
        self._board.put(key, self.rank, tensor)
        return _Pending(self._board, key, combine)


def run_workers(workers: int, work: Callable[[Collectives], Result]) -> list[Result]:
    """Call `work` with its collectives on each of N threads; return the results in rank order.

    The first exception of a worker ends the others and is raised here. torch's own threads are a setting of the
    process: call torch.set_num_threads(1) where the results must not depend on them.
    """
    board = _Board(workers)
    results: dict[int, Result] = {}
    failures: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadCollectives(board, rank))
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            failures.append(error)
            board.fail()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [results[rank] for rank in range(workers)]
