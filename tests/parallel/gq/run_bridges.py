"""Horovod, the virtual cluster and torch DDP must give the same bits; run on two ranks."""

from __future__ import annotations

import sys
from typing import Any

import horovod.torch as hvd
import torch
import torch.distributed as dist
from torch import nn

from horovod_gq import DistributedOptimizer, NonFiniteGradientError
from horovod_gq.ddp import GQState, TorchCollectives, gq_hook
from horovod_gq.virtual import VirtualCluster
from tests.parallel.gq.common import (
    assert_same_on_all_ranks,
    expect_error,
    loss_of,
    make_model,
    run_checks,
    spoil_gradient,
    weights,
)

STEPS = 8
SETTINGS: list[dict[str, Any]] = [
    {"wire_bits": 3},
    {"wire_bits": 8, "rounding": "stochastic", "seed": 3},
    {"wire_bits": 4, "exchange": "scatter_reduce_allgather"},
]


def settings_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"compile_kernels": False, "min_numel": 256, **fields}


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def with_horovod(fields: dict[str, Any]) -> torch.Tensor:
    model = make_model()
    # Not in eval mode: batch norm's running statistics differ, but they have no influence on training.
    optimizer = DistributedOptimizer(sgd(model), model, bucket_bytes=12_000, **settings_of(fields))
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, step, hvd.rank()).backward()
        optimizer.step()
    return weights(model)


def check_virtual_cluster_equals_horovod() -> None:
    for fields in SETTINGS:
        model = make_model()
        cluster = VirtualCluster(model, workers=2, bucket_bytes=12_000, **settings_of(fields))
        optimizer = sgd(model)
        for step in range(STEPS):
            for worker in range(2):
                model.zero_grad()
                loss_of(model, step, worker).backward()
                cluster.collect(worker)
            cluster.average()
            optimizer.step()
        assert torch.equal(weights(model), with_horovod(fields)), fields


def check_ddp_hook_equals_horovod() -> None:
    store = sys.argv[1]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=hvd.rank(), world_size=hvd.size())
    for fields in SETTINGS:
        model = make_model()
        # Tiny buckets, so that there are several and DDP rebuilds them after the first step.
        ddp = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.01)
        state = GQState(model, **settings_of(fields))
        ddp.register_comm_hook(state, gq_hook)
        optimizer = sgd(model)
        for step in range(STEPS):
            optimizer.zero_grad()
            loss_of(ddp, step, hvd.rank()).backward()
            optimizer.step()
        if fields.get("exchange") == "scatter_reduce_allgather":
            # Which chunk of a bucket holds a tensor, and so its second scale, depends on DDP's buckets.
            assert_same_on_all_ranks(weights(model), "weights.scatter")
        else:
            assert torch.equal(weights(model), with_horovod(fields)), fields
        assert state.wire_bytes_per_step() > 0


def check_fast_path_over_torch_distributed() -> None:
    model = make_model()
    optimizer = DistributedOptimizer(
        sgd(model), model, bucket_bytes=12_000, collectives=TorchCollectives(), **settings_of({})
    )
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, step, hvd.rank()).backward()
        optimizer.step()
    assert torch.equal(weights(model), with_horovod({}))


def check_ddp_hook_refuses_different_settings() -> None:
    fields = settings_of({"min_numel": 256 + hvd.rank()})
    expect_error(lambda: GQState(make_model(), **fields), "other settings")


def check_ddp_hook_stops_on_nonfinite_gradient() -> None:
    model = make_model()
    ddp = nn.parallel.DistributedDataParallel(model)
    ddp.register_comm_hook(GQState(ddp, **settings_of({})), gq_hook)
    loss_of(ddp, 0, hvd.rank()).backward()
    if hvd.rank() == 1:
        spoil_gradient(model, "features.3.weight", float("nan"))
    expect_error(lambda: loss_of(ddp, 1, hvd.rank()).backward(), "features.3.weight", NonFiniteGradientError)
    assert_same_on_all_ranks(weights(model), "weights.ddp")
    dist.destroy_process_group()


if __name__ == "__main__":
    run_checks([value for name, value in list(globals().items()) if name.startswith("check_")])
