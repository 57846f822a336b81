"""Which process logs a run, so that a later one can tell whether it still lives."""

import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

# Clocks that are set move a process's creation time by less; a process id comes back later.
_TOLERANCE_SECONDS = 5.0


@dataclass(frozen=True)
class Owner:
    """A process on a machine. Text of the tag: `str(owner)`, read by `Owner.parse`."""

    machine: str
    """Host name and the machine's own id."""
    boot: str
    """The machine's id since it was last started."""
    namespace: str
    """The process-id namespace: containers on one machine count their processes separately."""
    pid: int
    started: float
    """Creation time, seconds since 1970."""

    @classmethod
    def of(cls, process: psutil.Process) -> "Owner":
        """Return the owner that is `process`, on this machine."""
        return cls(
            machine=f"{socket.gethostname()} {_read('/etc/machine-id')}",
            boot=_read("/proc/sys/kernel/random/boot_id"),
            namespace=_namespace(),
            pid=process.pid,
            started=process.create_time(),
        )

    @classmethod
    def parse(cls, text: str) -> "Owner | None":
        """Return the owner that a tag names, or None where it is none of ours."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def is_dead(self) -> bool:
        """Whether the process has certainly ended. Of another machine or container nothing is certain."""
        here = Owner.of(psutil.Process())
        if self.machine != here.machine:
            return False
        if self.boot != here.boot:
            return True
        if self.namespace != here.namespace:
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= _TOLERANCE_SECONDS
            return not same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def checkout() -> str:
    """Return a short name of this working folder on this machine: where checkpoints to resume from lie."""
    place = f"{Owner.of(psutil.Process()).machine}:{Path.cwd().resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]


def _read(path: str) -> str:
    """Return the line in a file of the system, empty where it has none."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
