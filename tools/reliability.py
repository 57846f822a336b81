"""Write the counts of docs/reliability.md from what `make soak` has tried: `python -m tools.reliability [FILE]`.

FILE, such as results/soak.json, becomes the committed result docs/soak.json; without it the page is written anew from
that one. A test compares, so no count of the table can be of another run.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from tools.project_imports import ROOT

PAGE = ROOT / "docs" / "reliability.md"
COMMITTED = ROOT / "docs" / "soak.json"
BLOCK = re.compile(r"(?s)(<!-- soak -->\n).*?(<!-- end -->)")

# What the tests call what they try (`tried`, tests/soak.py): the promise, and how it is tried.
PROMISES = {
    "mutated parameter files": (
        "No parameter file, however wrong, ends in anything but a line a problem",
        "bytes, tokens and lines of `params.yaml` changed at random, then read as all sections and their references",
    ),
    "any values in any places of params.yaml": ("The same for any value in any place", "Hypothesis"),
    "kills of a training": (
        "A training that is killed (SIGKILL) and started again ends with the same weights, metrics and generators, "
        "bit for bit",
        "random moments",
    ),
    "kills of two-rank runs": (
        "A two-rank run, killed and started again, ends as if left alone: weights, metrics, optimizer and quantizer "
        "bit-identical, no run left RUNNING in MLflow",
        "one rank, both or the launcher, at random moments, after a loss that became NaN on one rank",
    ),
    "stopped ranks": (
        "A rank that is stopped is named and ends the job, which resumes; one that goes on in time costs nothing",
        "SIGSTOP, SIGCONT",
    ),
    "dead workers and hosts": (
        "A worker or host that dies ends the job with a line that names rank and host; the same command resumes",
        "SIGKILL, and a link that is cut, on emulated hosts",
    ),
    "elastic runs that lose a worker or a host": (
        "An elastic run goes on without a worker or host, takes it in again, and reaches its accuracy",
        "`examples/digits_elastic.py` on three emulated hosts",
    ),
    "links that are down for 20 s": ("A link that is down for 20 s costs time only", "two emulated hosts"),
    "runs over links that lose or delay packets": (
        "A link that loses 2 % of the packets or delays them by 20 ms each way costs time only",
        "two emulated hosts",
    ),
    "kills of make repro as a whole": (
        "`make repro` killed with its whole process group, then the same command: weights bit-identical, numbers "
        "equal but for times",
        "random moments of a tiny pipeline, two-rank runs among them",
    ),
    "two make repro at once in two checkouts": (
        "Two checkouts at once do not disturb each other",
        "two tiny pipelines at the same time: weights bit-identical",
    ),
    "kills of a checkpoint's writer": (
        "A checkpoint is the old file or the whole new one",
        "a writer killed at random moments",
    ),
    "flipped bits of a checkpoint": ("A flipped bit in a checkpoint is found", "bits at every place"),
    "checkpoints cut off": ("A checkpoint that is cut off is found", "every length"),
    "damaged prepared files": (
        "Damaged prepared data are named with their file, nothing wrong is trained on",
        "bits flipped, files cut off",
    ),
    "damaged data files": (
        "A damaged IDX or `.npz` file is read or named, with its SHA-256 where one is recorded",
        "bytes changed, files cut off",
    ),
    "damaged images": ("A damaged image is read or named", "seven formats"),
    "kills of an MLflow server": (
        "A tracking server that dies in the middle holds nothing up; later it has every number once",
        "a real server, killed before any call of a training and an evaluation, started again, `stages.track send`",
    ),
    "stores that fail at a request": (
        "The same for a store that fails at any request, before or after it has done it",
        "a random request of the stages, and twice one of sending what is left",
    ),
}


def table(result: dict[str, Any]) -> str:
    """Return the table, and the line that says of which run it is; KeyError for a promise that is not explained."""
    lines = ["| promise | how it is tried | tried | lost |", "|---|---|---|---|"]
    found = result["promises"]
    order = [*PROMISES, *sorted(set(found) - set(PROMISES))]
    for name in order:
        if name in found:
            promise, how = PROMISES[name]
            files = ", ".join(f"`{Path(file).name}`" for file in found[name]["tests"])
            lines.append(f"| {promise} | {files}: {how} | {found[name]['tried']:,} | {found[name]['lost']} |")
    form = "the long forms" if result["long"] else "the quick forms alone, not yet the long ones"
    failed = ", ".join(result["failed"]) or "none"
    run = f"Commit {result['commit']}, {result['date']}, {result['machine']}, {result['minutes']} minutes, {form}"
    skipped = ", ".join(result["skipped"]) or "none"
    return "\n".join([*lines, "", f"{run}; tests that failed: {failed}; skipped: {skipped}."])


def render(page: str, result: dict[str, Any]) -> str:
    """Return the text of the page with its table made from `result`."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(result)}\n\n{block[2]}", page)


def main() -> None:
    """Take the result that is named, if any, and write the page."""
    if sys.argv[1:]:
        shutil.copyfile(sys.argv[1], COMMITTED)
    result = json.loads(COMMITTED.read_text(encoding="utf-8"))
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
