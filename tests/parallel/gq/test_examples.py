"""The examples run as they are, on two ranks, and learn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.parallel.launch import ROOT, horovodrun


@pytest.fixture
def tiny_cifar(tmp_path: Path) -> Path:
    """320 images whose class is their mean colour, in CIFAR-10's layout."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 320)
    colours = rng.integers(40, 216, (10, 3))
    images = colours[labels][:, None, None, :] + rng.integers(-40, 40, (320, 32, 32, 3))
    path = tmp_path / "tiny.npz"
    np.savez(path, x_train=images.astype(np.uint8), y_train=labels)
    return path


@pytest.mark.parametrize("script", ["cifar10_stock.py", "cifar10_fast.py"])
def test_example_learns_and_reports_its_bytes(script: str, tiny_cifar: Path) -> None:
    output = horovodrun(ROOT / "examples" / script, "--data", str(tiny_cifar), "--epochs", "3")
    check_example(output)


def check_example(output: str) -> None:
    """The loss of three epochs falls, and the bytes are those of four bits a value."""
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", output)]
    assert len(losses) == 3, output
    assert losses[-1] < 0.7 * losses[0], losses
    sent, fp32 = (int(value) for value in re.search(r"step: (\d+) \(fp32: (\d+)\)", output).groups())  # type: ignore[union-attr]
    # 4 of 32 bits, and a few per cent of batch norm, headers and padding.
    assert 32 / 4 * 0.85 < fp32 / sent < 32 / 4
