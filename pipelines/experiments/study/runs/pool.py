"""A pool of processes: one for each core, none left behind."""

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

import torch
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")
_KEPT: ContextVar[Executor | None] = ContextVar("kept_pool", default=None)


def run_all(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_processes: int,
    description: str,
    fresh: bool = False,
) -> list[Result]:
    """Return `function` of every item, in order, computed by at most `num_processes` spawned processes.

    Each computes with one thread, so that their times compare. `function` must be importable, items and results
    picklable. With `fresh` every item gets a new process, else those of a `kept_pool` are used where there is one. The
    first exception of any item, and Ctrl-C, end all processes and are raised here; those of a kept pool end with it.
    """
    num_processes = max(1, min(num_processes, len(items)))
    with process_pool(num_processes, fresh=True) if fresh else kept_or_own_pool(num_processes) as executor:
        futures = [executor.submit(function, item) for item in items]
        finished = as_completed(futures)
        for future in tqdm(finished, desc=description, total=len(items), unit="run", disable=None):
            future.result()
        return [future.result() for future in futures]


@contextmanager
def kept_pool(num_processes: int) -> Iterator[None]:
    """Let every `run_all` and `kept_or_own_pool` of the block use the same `num_processes` processes.

    To start one takes seconds.
    """
    with process_pool(num_processes) as executor:
        token = _KEPT.set(executor)
        try:
            yield
        finally:
            _KEPT.reset(token)


def kept_or_own_pool(num_processes: int) -> AbstractContextManager[Executor]:
    """Return the pool of the `kept_pool` around, which is left open, or where there is none a `process_pool`."""
    kept = _KEPT.get()
    return process_pool(num_processes) if kept is None else nullcontext(kept)


@contextmanager
def process_pool(num_processes: int, *, fresh: bool = False) -> Iterator[Executor]:
    """Yield `num_processes` spawned processes of one thread each; see `run_all`.

    An exception in the block, Ctrl-C included, ends them at once; else they are waited for.
    """
    executor = ProcessPoolExecutor(
        num_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        max_tasks_per_child=1 if fresh else None,
    )
    try:
        yield executor
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


class _NoTerminal(io.TextIOWrapper):
    """Standard error that is no terminal: progress bars of single runs would write over the pool's."""

    def isatty(self) -> bool:
        return False


def _start() -> None:
    """Set up a process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool's owner gets it too, and ends this process
    threading.Thread(target=_end_with_owner, daemon=True).start()
    sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    torch.set_num_threads(1)


def _end_with_owner() -> None:
    owner = multiprocessing.parent_process()
    if owner is not None:
        owner.join()
        os._exit(1)  # it was killed: nobody waits for a result any more
