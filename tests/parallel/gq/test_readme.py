"""The diffs in the plugin's README are what to write: both sides of each run, on a single rank, and make a step."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.configs import UNCOMPILED
from tests.imports import ROOT

BEFORE = """
import torch
from torch.nn.parallel import DistributedDataParallel

model = torch.nn.Linear(64, 32)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
if {ddp}:
    torch.distributed.init_process_group("gloo", init_method="file://{store}", rank=0, world_size=1)
"""
AFTER = """
if not {ddp}:
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
start = [parameter.clone() for parameter in model.parameters()]
model(torch.ones(4, 64)).square().mean().backward()
optimizer.step()
assert not any(torch.equal(a, b) for a, b in zip(start, model.parameters()))
"""
# One interpreter for all, for importing torch and Horovod takes longer than the steps; names of its own for each.
RUN_EACH = """
import sys
import torch.distributed
for text in sys.argv[1:]:
    exec(compile(text, "README.md", "exec"), {})
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
"""


def sides(block: str) -> tuple[str, str]:
    """Return a diff's text without the lines that it adds, and without those that it removes."""
    lines = block.splitlines()
    old = [line[1:] for line in lines if not line.startswith("+")]
    new = [line[1:] for line in lines if not line.startswith("-")]
    return "\n".join(old), "\n".join(new)


def program(side: str, store: Path) -> str:
    """Return a script around one side; Horovod is initialised where it is imported."""
    ddp = "DistributedDataParallel" in side
    text = side.replace("import horovod.torch as hvd", "import horovod.torch as hvd\nhvd.init()")
    return "\n".join([BEFORE.format(ddp=ddp, store=store), text, AFTER.format(ddp=ddp)])


def test_both_sides_of_every_diff_run(tmp_path: Path) -> None:
    readme = (ROOT / "horovod_gq/README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```diff\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 3
    texts = [side for block in blocks for side in sides(block)]
    programs = [program(side, tmp_path / f"store{number}") for number, side in enumerate(texts)]
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH, *programs],
        cwd=ROOT,
        env=os.environ | UNCOMPILED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
