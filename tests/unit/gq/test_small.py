"""small_bits: 1-D and small tensors through GQ."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import GQ, GQConfig
from horovod_gq.buckets import Form, form_of
from horovod_gq.config import UNCOMPRESSED
from horovod_gq.layout import NARROW_ROW
from horovod_gq.virtual import VirtualCluster

SHAPES = {
    "norm.weight": (12,),
    "norm.bias": (12,),
    "head.bias": (10,),
    "gate.weight": (5, 7),
    "fc.weight": (40, 50),
}


def cluster_of(workers: int, **fields: Any) -> tuple[VirtualCluster, dict[str, nn.Parameter]]:
    parameters = {name: nn.Parameter(torch.zeros(shape)) for name, shape in SHAPES.items()}
    return VirtualCluster(list(parameters.items()), workers, compile_kernels=False, **fields), parameters


def test_small_tensors_have_their_own_width_and_narrow_rows() -> None:
    config = GQConfig(small_bits=8, overrides=(("head.*", 32), ("gate.*", 4)))
    forms = {name: form_of(name, shape, config) for name, shape in SHAPES.items()}
    small = Form(8, row=NARROW_ROW)
    assert forms == {
        "norm.weight": small,
        "norm.bias": small,
        "head.bias": Form(UNCOMPRESSED),
        "gate.weight": Form(4),  # as before there was small_bits
        "fc.weight": Form(4),
    }
    assert form_of("norm.weight", (12,), GQConfig()) == Form(UNCOMPRESSED)


def test_bytes_of_small_tensors() -> None:
    # fc: 2,000 values in 16 rows of 128 at 4 bits and a header of 4 bytes.
    fc = 16 * 128 // 2 + 4
    # 12, 12, 10 and 35 values in rows of 16, at 8 bits with headers of 8 bytes, at 16 bits of 16.
    assert cluster_of(2, small_bits=8)[0].wire_bytes_per_step() == fc + 16 * (1 + 1 + 1 + 3) + 4 * 8
    assert cluster_of(2, small_bits=16)[0].wire_bytes_per_step() == fc + 2 * 16 * (1 + 1 + 1 + 3) + 4 * 16
    # fp32 values and a canary of nine.
    assert cluster_of(2)[0].wire_bytes_per_step() == fc + 4 * (12 + 12 + 10 + 35 + 9)
    single = GQ(small_bits=8).bind([(n, nn.Parameter(torch.zeros(s))) for n, s in SHAPES.items()])
    assert single.wire_bytes_per_step() == fc + 16 * (1 + 1 + 1 + 3) + 4 * 8


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
@pytest.mark.parametrize(("small_bits", "workers"), [(8, 2), (8, 5), (16, 5)])
def test_sums_are_right_in_the_long_run(small_bits: int, workers: int, exchange: str) -> None:
    cluster, parameters = cluster_of(workers, small_bits=small_bits, wire_bits=8, exchange=exchange)
    generator = torch.Generator().manual_seed(0)
    decoded = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    true = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for _ in range(20):
        for worker in range(workers):
            for name, parameter in parameters.items():
                parameter.grad = torch.randn(SHAPES[name], generator=generator) + 0.5
                true[name] += parameter.grad / workers
            cluster.collect(worker)
        cluster.average()
        for name, parameter in parameters.items():
            decoded[name] += parameter.grad  # type: ignore[operator]
    for name in SHAPES:
        # What is not delivered after 20 steps is one residual: at least 25 levels over 8 rms, so at most half of
        # 1.5 * 8 / 25 rms each, of a sum of 20 steps of 0.5 rms: 2.4 %; twice that with the second residual.
        error = float((decoded[name] - true[name]).norm() / true[name].norm())
        assert error < 0.05, (name, error)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="small_bits is 4; allowed are 8, 16, 32"):
        GQConfig(small_bits=4)
    with pytest.raises(ValueError, match=r"small_bits=8 cannot carry the sum of 200 .* use small_bits 16"):
        cluster_of(200, wire_bits=16, small_bits=8)


def test_a_state_from_before_the_setting_existed_is_accepted() -> None:
    compression = GQ(wire_bits=4, workers=2).bind(nn.Linear(64, 64))
    state = compression.state_dict()
    for key in ("small_bits", "form", "factor_rank", "factor_bits"):
        del state["config"][key]
    compression.load_state_dict(state)
    with pytest.raises(ValueError, match=r"saved with \{'small_bits': 32\}"):
        GQ(wire_bits=4, workers=2, small_bits=8).bind(nn.Linear(64, 64)).load_state_dict(state)
