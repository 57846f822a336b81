"""Say where a pipeline stands: a filter for the output of `dvc repro`.

    dvc repro FILE | python tools/progress.py FILE
    dvc repro FILE:STAGE... | python tools/progress.py FILE FILE:STAGE...

Every line passes through. Before a stage runs, a line says its number, how long it took last time, and how long the
stages that may still run took then. The times of this checkout's last run are kept in .dvc/tmp; a first run takes
those of our machine (reference/). Without a terminal the lines are the same: one a stage, no colour.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

OURS = Path("reference/stage_seconds.json")
YOURS = Path(".dvc/tmp/stage_seconds.json")
RUNS = re.compile(r"^Running stage '(.+)':")
SKIPPED = re.compile(r"^(?:Stage )?'(.+)' (?:didn't change, skipping|is cached - skipping run)")
EDGE = re.compile(r'"([^"]+)" -> "([^"]+)"')
RECORDED = re.compile(r"^Updating lock file")


def planned(file: str, targets: Sequence[str] = ()) -> list[str]:
    """Return the names of all stages of a pipeline file, as DVC prints them; none if DVC cannot read it.

    With `targets`, names of its stages, only these and what they need.
    """
    if targets:
        return needed(dvc("dag", file, "--dot"), targets)
    return dvc("stage", "list", file, "--name-only").split()


def needed(graph: str, targets: Sequence[str]) -> list[str]:
    """Return the targets and all that they depend on, in no order, by the graph that `dvc dag --dot` prints."""
    before: dict[str, list[str]] = {}
    for first, then in EDGE.findall(graph):
        before.setdefault(then, []).append(first)
    found, left = list(targets), list(targets)
    while left:
        new = [name for name in before.get(left.pop(), []) if name not in found]
        found += new
        left += new
    return found


def dvc(*arguments: str) -> str:
    """Return what a command of DVC prints; nothing if it fails."""
    answer = subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else ""


def read_seconds(file: Path) -> dict[str, float]:
    """Return the seconds of each stage from a file of times; none if there is no such file, or a damaged one."""
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(file.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_seconds(file: Path, seconds: dict[str, float]) -> None:
    """Write the seconds of these stages into a file of times, which keeps those of all others."""
    file.write_text(json.dumps(dict(sorted((read_seconds(file) | seconds).items())), indent=2) + "\n")


def duration(seconds: float) -> str:
    """Return a time in words: "40 s", "9 min", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass
class Progress:
    """What a run of a pipeline has done: fed with the lines of `dvc repro`, it answers with lines of its own."""

    stages: list[str]
    """All stages of the pipeline."""
    last: dict[str, float]
    """Seconds of each stage that ran before."""
    seen: list[str] = field(default_factory=list)
    """Stages that ran, run or were skipped."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of the stages that ran to their end."""
    running: str | None = None
    started: float = 0.0
    ran: int = 0

    def read(self, line: str, now: float) -> str | None:
        """Take a line of DVC's output, read at `now` (seconds); return a line to print before it, or none."""
        if match := RUNS.match(line):
            self._see(match[1])
            self.running, self.started = match[1], now
            self.ran += 1
            return self.header(match[1])
        if match := SKIPPED.match(line):
            self._see(match[1])
        elif RECORDED.match(line) and self.running:
            self.seconds[self.running] = now - self.started
            self.running = None
        return None

    def header(self, stage: str) -> str:
        """Return the line that announces a stage."""
        text = f"== stage {len(self.seen)} of {len(self.stages)}: {stage}"
        if stage in self.last:
            text += f", {duration(self.last[stage])} last time"
        left = [name for name in self.stages if name not in self.seen] + [stage]
        known = [self.last[name] for name in left if name in self.last]
        if not known:
            return text
        unknown = len(left) - len(known)
        return f"{text}; at most {duration(sum(known))} to go" + (
            f" and {unknown} stages of unknown time" if unknown else ""
        )

    def summary(self) -> str:
        """Return the last line: how many stages ran and how many had nothing to do."""
        return f"== {self.ran} stages run, {len(self.seen) - self.ran} up to date, of {len(self.stages)}"

    def _see(self, stage: str) -> None:
        if stage not in self.stages:  # of another pipeline, which this one needs
            self.stages.append(stage)
        if stage not in self.seen:
            self.seen.append(stage)


def main(file: str, *targets: str) -> None:
    """Copy standard input to standard output, with the lines of progress, and keep the times."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # DVC answers Ctrl-C; its last lines are to be seen
    progress = Progress(planned(file, targets), read_seconds(OURS) | read_seconds(YOURS))
    for line in sys.stdin:
        if announcement := progress.read(line, time.monotonic()):
            print(announcement, flush=True)
        print(line, end="", flush=True)
    if progress.seen:
        print(progress.summary(), flush=True)
    if progress.seconds and YOURS.parent.is_dir():
        keep_seconds(YOURS, progress.seconds)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["dvc.yaml"]))
