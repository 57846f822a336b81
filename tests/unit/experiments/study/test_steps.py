"""The peak memory of a training step, measured in fresh processes as the ablation does."""

from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.experiments.study.job import Training
from pipelines.experiments.study.runs.pool import run_all
from pipelines.experiments.study.runs.steps import peak_memory_bytes, peak_of
from tests.configs import make_densenet, make_recipe
from tests.imports import ROOT

KNOWN_ELEMENTS = 2**24
KNOWN_BYTES = 4 * KNOWN_ELEMENTS
# The kernel counts resident pages in batches of some 128 KiB for each core and kind of page.
SLACK_BYTES = KNOWN_BYTES // 16


def in_fresh_process(function, item):
    return run_all(function, [item], num_processes=1, description="test", fresh=True)[0]


def peak_after(earlier_elements):
    """Measure a step of KNOWN_BYTES in a process that has had, and given back, another tensor."""
    torch.ones(earlier_elements)
    return peak_of(lambda: torch.ones(KNOWN_ELEMENTS), on_gpu=False)


def peak_where_the_reset_is_refused(earlier_elements):
    with patch.object(Path, "write_text", side_effect=PermissionError):
        return peak_after(earlier_elements)


@pytest.mark.parametrize("earlier_elements", [1, 4 * KNOWN_ELEMENTS])
def test_a_known_allocation_is_seen(earlier_elements):
    peak = in_fresh_process(peak_after, earlier_elements)
    assert abs(peak - KNOWN_BYTES) < SLACK_BYTES


def test_without_the_reset_the_peak_is_that_since_the_start():
    peak = in_fresh_process(peak_where_the_reset_is_refused, 4 * KNOWN_ELEMENTS)
    assert abs(peak - 4 * KNOWN_BYTES) < SLACK_BYTES


@pytest.mark.parametrize("memory_efficient", [False, True])
def test_a_step_of_a_trivial_model_takes_next_to_nothing(memory_efficient, tmp_path):
    config = load_section(PrepareConfig, "prepare", ROOT / "params.yaml")
    prepare(config, tmp_path / "data", tmp_path / "samples.png")
    training = Training(
        model="densenet10",
        recipe=make_recipe(batch_size=2),
        densenet=make_densenet(growth_rate=2, memory_efficient=memory_efficient),
        data_folder=tmp_path / "data",
        checkpoints=tmp_path,
    )
    # Its tensors are some ten kilobytes. There is code to generate for 9 convolutions, each with two gradients:
    # at most 128 KiB for one of them. The first step of a process takes some 20 MiB more.
    assert in_fresh_process(peak_memory_bytes, training) < 3 * 9 * 2**17
