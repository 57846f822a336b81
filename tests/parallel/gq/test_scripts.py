"""A plain Horovod script trains through GQ, in buckets, after five of its lines were changed or added."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from tests.parallel.launch import ROOT, horovodrun

PLAIN = ROOT / "tests/parallel/gq/plain_horovod.py"
CHANGES = {
    "import torch\n": "import torch\nfrom horovod_gq import GQ\n",
    "optimizer = hvd.Dist": "compression = GQ(wire_bits=4, compile_kernels=False).bind(model)\noptimizer = hvd.Dist",
    "compression=hvd.Compression.none": "compression=compression",
    "op=hvd.Average,": "op=hvd.Sum,\n    groups=compression.groups,",
}
MAX_CHANGED_LINES = 5


def losses_of(output: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss ([\d.]+)", output)]


def test_a_plain_script_needs_five_lines(tmp_path: Path) -> None:
    source = PLAIN.read_text()
    changed = source
    for old, new in CHANGES.items():
        assert changed.count(old) == 1, old
        changed = changed.replace(old, new)
    lines = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm=""))
    assert sum(line.startswith("+") and not line.startswith("+++") for line in lines) <= MAX_CHANGED_LINES
    script = tmp_path / "with_gq.py"
    script.write_text(changed)
    plain = horovodrun(PLAIN, str(tmp_path / "plain.pt"))
    first = horovodrun(script, str(tmp_path / "gq.pt"))
    again = horovodrun(script, str(tmp_path / "gq.pt"))
    assert "horovod_gq.compression.GQ" in first
    assert "NoneCompressor" in plain
    assert "groups=compression.groups" not in first, "the tensors travelled one by one"
    # The replicas agree (the script checks it), and it learns as the plain one does.
    assert losses_of(first)[-1] == pytest.approx(losses_of(plain)[-1], rel=0.1)
    assert losses_of(again)[-1] < losses_of(first)[-1] < losses_of(first)[0]
