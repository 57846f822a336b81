"""Why a run of horovodrun failed, in one line: a worker's own words, or which rank on which host ended it."""

import re
import sys
from collections import deque

from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

from pipelines.errors import UserError

RANK_PREFIX = re.compile(r"^\[(?:\d+,)?(\d+)\]<(?:stdout|stderr)>:")
EXIT_LINE = re.compile(r"^Process (\d+) exit with status code (\d+)\.")
ERROR = "error: "
LINES_KEPT = 30
LAUNCHER = "horovodrun"
RESUMES = "the same command goes on after the last epoch that all ranks have saved"
KILLED = 137  # 128 + SIGKILL, the shell's convention
LOST = 255  # ssh's: the connection broke, or the program was ended by a signal
LOST_THE_OTHERS = "has lost another rank"
"""What a rank says that failed because another one did."""
TERMINATED = 143  # 128 + SIGTERM, what horovodrun sends to the others


class Output:
    """What a run has printed: the last lines of each rank and of horovodrun itself, and which ranks ended how.

    `hosts` is horovodrun's option `-H` (`a:2,b:2`); empty: hosts are not named.
    """

    def __init__(self, hosts: str = "") -> None:
        self.tails: dict[str, deque[str]] = {}
        self.exits: dict[int, int] = {}
        """Status by rank, in the order of their ends, without those that ended well."""
        self.silence: str | None = None
        """Which ranks gave no sign of life for too long."""
        self.hosts: list[str] = []
        if hosts:
            parsed = parse_hosts(hosts)
            slots = sum(host.slots for host in parsed)
            self.hosts = [slot.hostname for slot in get_host_assignments(parsed, slots)]

    def add(self, line: str) -> None:
        """Take a line; an empty one is left out."""
        text = RANK_PREFIX.sub("", line.rstrip())
        if not text:
            return
        rank = self.rank_of(line)
        self.tails.setdefault(speaker(rank), deque(maxlen=LINES_KEPT)).append(text)
        ended = EXIT_LINE.match(text) if rank is None else None
        if ended:
            self.exits.setdefault(int(ended[1]), int(ended[2]))

    @staticmethod
    def rank_of(line: str) -> int | None:
        """Return the rank that printed a line; None for horovodrun itself."""
        prefix = RANK_PREFIX.match(line)
        return int(prefix[1]) if prefix else None

    def name_of(self, rank: int) -> str:
        """Return how a rank is called in messages."""
        return f"rank {rank} on {self.hosts[rank]}" if rank < len(self.hosts) else f"rank {rank}"

    def culprit(self) -> int | None:
        """Return the rank whose end ended the others: the first one that neither lost another one nor was told to end.

        None where no rank has ended badly.
        """
        first = [rank for rank in self.exits if not self._lost_another(rank)]
        own = [rank for rank in first if self.exits[rank] != TERMINATED]
        return next(iter([*own, *first, *self.exits]), None)

    def errors(self) -> list[str]:
        """Return the ranks' own lines about a user's mistake, those last that only tell of another rank."""
        lines = [line for tail in self.tails.values() for line in tail if line.startswith(ERROR)]
        return sorted((line.removeprefix(ERROR) for line in lines), key=lambda line: LOST_THE_OTHERS in line)

    def _lost_another(self, rank: int) -> bool:
        return any(LOST_THE_OTHERS in line for line in self.tails.get(speaker(rank), ()))


def speaker(rank: int | None) -> str:
    """Return the key of `Output.tails` for a rank, or for horovodrun."""
    return LAUNCHER if rank is None else f"rank {rank}"


def failure(status: int, description: str, output: Output) -> UserError | None:
    """Return why a run failed, None where it did not: a worker's line about a user's mistake, else the rank.

    Shows first, on stderr, what a worker printed last that failed by a defect.
    """
    if output.silence is not None:
        return UserError(f"{description}: {output.silence}; {RESUMES}")
    if status == 0:
        return None
    errors = output.errors()
    if errors and LOST_THE_OTHERS not in errors[0]:
        return UserError(errors[0])
    rank = output.culprit()
    if rank is None:
        _show(output, *sorted(output.tails))
        what = f"horovodrun ended with status {status} for {description}"
        return UserError(f"{what}; the last lines of its workers stand above")
    name, how = output.name_of(rank), output.exits[rank]
    if how == KILLED:
        return UserError(f"{description}: {name} was killed (SIGKILL; out of memory?); {RESUMES}")
    if how in (LOST, TERMINATED):
        # Terminated itself, it is the one that the others have lost: what ended it was not seen.
        _show(output, speaker(rank))
        return UserError(f"{description}: {name} was killed or its connection broke; {RESUMES}")
    if errors:
        return UserError(f"{errors[0]}; {RESUMES}")
    _show(output, speaker(rank))
    return UserError(f"{description}: {name} ended with status {how}; its last lines stand above")


def _show(output: Output, *speakers: str) -> None:
    for name in speakers:
        if output.tails.get(name):
            print(f"--- {name}, last lines:", *output.tails[name], sep="\n", file=sys.stderr, flush=True)
