"""Signs of life: every worker prints one in each interval, and the launcher notices whose are missing.

A sign says how many steps the rank has made, and whether it waits for the others. So the launcher also sees a rank
that lives but does not come. Horovod's own stall check runs in rank 0's negotiation, which itself waits for a process
that is stopped, or whose host or link is gone; over Gloo it did not speak of a rank that was late either.
"""

import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

MARK = "@gqbench-alive"
PATTERN = re.compile(rf"{MARK} (\d+) ([01L])\n?")
LEAVES = "L"
"""In place of whether the rank waits: it has nothing more to do with the others, and gives no further sign."""
ENVIRONMENT = "GQBENCH_HEARTBEAT"
INTERVAL_SECONDS = 3.0
TICK_SECONDS = 1.0
EXIT_ORPHANED = 1
WAITS_IN = os.path.join("horovod", "torch", "mpi_ops.py")
FRAMES_LOOKED_AT = 4

_steps = 0
_left = threading.Event()
_writing = threading.Lock()


def start() -> None:
    """Give signs of life from now on, where the launching stage asked for them by GQBENCH_HEARTBEAT=1.

    Called by the main thread. A worker whose output nobody takes any more has lost its launcher: it ends at once.
    """
    if os.environ.get(ENVIRONMENT) == "1":
        main = threading.get_ident()
        threading.Thread(target=_beat, args=(main,), name="heartbeat", daemon=True).start()


def report_steps(done: int) -> None:
    """Say with the next signs of life that this rank has made `done` steps."""
    global _steps
    _steps = done


def leave() -> None:
    """Give the last sign of life: what this rank does from now on keeps no other one waiting."""
    with _writing:
        _left.set()
        if os.environ.get(ENVIRONMENT) == "1":
            _write(LEAVES)


def _beat(main: int) -> None:
    while True:
        waits = _in_horovod(sys._current_frames().get(main))
        with _writing:
            if not _left.is_set():
                _write(str(int(waits)))
        if _left.wait(INTERVAL_SECONDS):
            return


def _write(state: str) -> None:
    assert sys.__stdout__ is not None
    try:
        os.write(sys.__stdout__.fileno(), f"{MARK} {_steps} {state}\n".encode())
    except OSError:
        os._exit(EXIT_ORPHANED)


def _in_horovod(frame: FrameType | None) -> bool:
    """Tell whether a thread stands in a call of Horovod, which waits for the other ranks."""
    for _ in range(FRAMES_LOOKED_AT):
        if frame is None:
            return False
        if frame.f_code.co_filename.endswith(WAITS_IN):
            return True
        frame = frame.f_back
    return False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a rank may be silent, or behind the others, in seconds."""

    silence_warning: float
    """Without a sign of life, until a line on stderr names the rank."""
    silence_error: float
    """Without a sign of life, until the job ends."""
    stall_warning: float
    """Alive and no step further while another one waits, until a line on stderr names the rank."""
    stall_error: float
    """Alive and no step further while another one waits, until the job ends."""


@dataclass
class _Rank:
    """What the launcher knows of a rank; seconds are counted in ticks."""

    state: tuple[str, str] = ("", "")
    """Steps, and whether it waits."""
    silent: float = 0.0
    """Seconds since its last sign of life."""
    unchanged: float = 0.0
    """Seconds in which its signs of life said the same."""

    @property
    def waits(self) -> bool:
        """Whether it waits for others."""
        return self.state[1] == "1"


class Watch:
    """Counts how long each rank is silent or late; warns, then gives the job up. For the time of a `with` block.

    Args:
        limits: when to warn and when to give up.
        name_of: how a rank is called in a message, such as "rank 1 on node1".
        give_up: ends the job; called once, from the watch's own thread, after `failure` was set.
    """

    def __init__(self, limits: Limits, name_of: Callable[[int], str], give_up: Callable[[], None]) -> None:
        self.limits, self.name_of, self.give_up = limits, name_of, give_up
        self.failure: str | None = None
        """Which ranks were silent or late for too long."""
        self._ranks: dict[int, _Rank] = {}
        self._warned: set[int] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        """Begin to count."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self._over.set()
        self._thread.join()

    def heard(self, rank: int, state: tuple[str, str]) -> None:
        """Note a sign of life of `rank` (steps, and "1" if it waits); it is watched from its first one to its last."""
        with self._lock:
            if state[1] == LEAVES:
                self._ranks.pop(rank, None)
                return
            known = self._ranks.setdefault(rank, _Rank(state))
            known.silent = 0.0
            if state != known.state:
                known.state, known.unchanged = state, 0.0

    def tick(self) -> None:
        """Count one more second of every rank; warn or give up where it is too long."""
        with self._lock:
            for known in self._ranks.values():
                known.silent += TICK_SECONDS
                known.unchanged += TICK_SECONDS
            limits = self.limits
            silent, lost = self._silent(limits.silence_warning), self._silent(limits.silence_error)
            late, stalled = self._late(limits.stall_warning), self._late(limits.stall_error)
        self._warn(silent, f"gave no sign of life for {limits.silence_warning:g} s")
        self._warn(late, f"is alive but let the others wait for {limits.stall_warning:g} s")
        for rank in sorted(self._warned - {*silent, *late}):
            self._warned.discard(rank)
            _say(f"{self.name_of(rank)} is there again")
        if lost:
            why = "stopped, or the host or its link is down"
            self._fail(lost, f"gave no sign of life for {limits.silence_error:g} s: {why}")
        elif stalled:
            self._fail(stalled, f"is alive but let the others wait for {limits.stall_error:g} s")

    def _silent(self, seconds: float) -> list[int]:
        return sorted(rank for rank, known in self._ranks.items() if known.silent >= seconds)

    def _late(self, seconds: float) -> list[int]:
        """Return the ranks that made no step while another one waited all the time."""
        long = {rank: known for rank, known in self._ranks.items() if known.unchanged >= seconds}
        if not any(known.waits for known in long.values()):
            return []
        return sorted(rank for rank, known in long.items() if not known.waits)

    def _warn(self, ranks: list[int], what: str) -> None:
        for rank in ranks:
            if rank not in self._warned:
                self._warned.add(rank)
                _say(f"warning: {self.name_of(rank)} {what}")

    def _fail(self, ranks: list[int], what: str) -> None:
        if self.failure is None:
            self.failure = f"{' and '.join(map(self.name_of, ranks))} {what}"
            self.give_up()

    def _run(self) -> None:
        # Ticks are counted, not the clock: who suspends the launcher does not lose the job when it goes on.
        while not self._over.wait(TICK_SECONDS):
            self.tick()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
