"""N workers as threads of one process, with collectives between them: every strategy without Horovod.

For tests, and for convergence at more workers than there are cores. Sums are made in rank order, so a run is
deterministic, and with two workers its sums have the bits of Horovod's.
"""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

from horovod_gq.collectives import Collectives

Result = TypeVar("Result")
Combine = Callable[[list[torch.Tensor]], torch.Tensor]


class _Meeting:
    """One collective: where the workers leave tensors for each other."""

    def __init__(self) -> None:
        self.sent: dict[int, torch.Tensor] = {}
        self.readers = 0
        self.complete = threading.Event()
        self.result: torch.Tensor | None = None


class _Board:
    """The meetings that are under way, and who may compute: as many workers as there are cores.

    More would only take turns in holding Python's lock, and with 64 that takes most of the time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.failed = False
        self.cores = threading.Semaphore(os.cpu_count() or 1)
        self._meetings: dict[int, _Meeting] = {}
        self._lock = threading.Lock()

    def put(self, number: int, rank: int, tensor: torch.Tensor, combine: Combine) -> None:
        """Leave a tensor; the last worker combines those of all ranks, in their order, once for all."""
        with self._lock:
            meeting = self._meetings.setdefault(number, _Meeting())
            meeting.sent[rank] = tensor.detach().clone()
            last = len(meeting.sent) == self.workers
        if last:
            meeting.result = combine([meeting.sent[other] for other in range(self.workers)])
            meeting.sent.clear()
            meeting.complete.set()
        if self.failed:
            meeting.complete.set()

    def take(self, number: int) -> torch.Tensor:
        """Return what was combined; blocks, and lets another worker compute, until it is there."""
        meeting = self._meetings[number]
        if not meeting.complete.is_set():
            self.cores.release()
            meeting.complete.wait()
            self.cores.acquire()
        if meeting.result is None:
            raise RuntimeError("another worker failed")
        with self._lock:
            meeting.readers += 1
            if meeting.readers == self.workers:
                del self._meetings[number]
        return meeting.result

    def fail(self) -> None:
        """Wake all who wait, now and from now on."""
        with self._lock:
            self.failed = True
            for meeting in self._meetings.values():
                meeting.complete.set()


class _Pending:
    def __init__(self, board: _Board, number: int, receive: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._board, self._number, self._receive = board, number, receive

    def wait(self) -> torch.Tensor:
        """Block until all workers have started this collective; return its result."""
        return self._receive(self._board.take(self._number))


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
        return self._start(tensor, _sum, tensor.copy_)

    def start_all_to_all(self, tensor: torch.Tensor, name: str) -> _Pending:  # noqa: ARG002
        """Send row k of `tensor` [N, ...] to worker k; the result's row k came from worker k."""
        return self._start(tensor, torch.stack, lambda stacked: stacked[:, self.rank].clone())

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> _Pending:  # noqa: ARG002
        """Gather `tensor` of every worker, [N, ...]."""
        return self._start(tensor, torch.stack, torch.clone)

    def _start(
        self, tensor: torch.Tensor, combine: Combine, receive: Callable[[torch.Tensor], torch.Tensor]
    ) -> _Pending:
        number = self._calls
        self._calls += 1
        self._board.put(number, self.rank, tensor, combine)
        return _Pending(self._board, number, receive)


def _sum(tensors: list[torch.Tensor]) -> torch.Tensor:
    total = tensors[0]
    for other in tensors[1:]:
        total.add_(other)
    return total


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
            with board.cores:
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
