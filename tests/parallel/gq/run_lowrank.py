"""Checks of form="lowrank" through the fast path, the virtual cluster and torch DDP, run on two ranks."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import horovod.torch as hvd
import torch
import torch.distributed as dist
from torch import nn

from horovod_gq import DistributedOptimizer, NonFiniteGradientError
from horovod_gq.ddp import GQState, gq_hook
from horovod_gq.lowrank import LowRankExchange
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
from tests.parallel.gq.run_fast import SMALL_BUCKETS, make_optimizer, setup, train, trained
from tests.references.processor import on_another_processor

LOWRANK: dict[str, Any] = {"form": "lowrank", "factor_rank": 2}
SCATTER: dict[str, Any] = {**LOWRANK, "exchange": "scatter_reduce_allgather"}
MODES: list[dict[str, Any]] = [
    LOWRANK,
    SCATTER,
    {**LOWRANK, "factor_rank": 3, "wire_bits": 8, "rounding": "stochastic"},
    {**LOWRANK, "averaging_interval": 4},
    {**LOWRANK, "staleness": 2},
    {**LOWRANK, "update": "layerwise", "small_bits": 8},
    {**LOWRANK, "overrides": (("classifier.weight", 16), ("features.0.*", 32))},
]


def check_learns_in_every_mode() -> None:
    for mode in MODES:
        result, losses = trained(40, **mode)
        assert sum(losses[-10:]) / 10 < 0.92 * sum(losses[:5]) / 5, (mode, losses)
        assert_same_on_all_ranks(result, f"weights.{mode}")


def check_replicas_on_unlike_processors() -> None:
    for fields in (LOWRANK, SCATTER, {**LOWRANK, "update": "layerwise"}):
        model = make_model()
        optimizer = setup(model, **fields)
        exchanges = [b.exchange for b in optimizer.buckets if isinstance(b.exchange, LowRankExchange)]
        assert exchanges
        if hvd.rank() == 1:
            for exchange in exchanges:
                on_another_processor(exchange)
        train(model, optimizer, range(12))
        optimizer.flush()
        assert_same_on_all_ranks(weights(model), f"weights.{fields}")


def check_layerwise_equals_synchronous_even_under_autocast() -> None:
    """A layerwise update is made inside the forward pass, whose autocast must not reach the factors."""
    results = []
    for update in ("synchronous", "layerwise"):
        model = make_model()
        optimizer = setup(model, update=update, **LOWRANK)
        for step in range(8):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(model, step, hvd.rank())
            loss.backward()
            optimizer.step()
        optimizer.flush()
        results.append(weights(model))
    assert torch.equal(*results)


def check_resume_continues_bit_for_bit() -> None:
    for arguments in (LOWRANK, SCATTER, {**LOWRANK, "staleness": 2}, {**LOWRANK, "averaging_interval": 2}):
        results = []
        for resumed in (False, True):
            model = make_model()
            optimizer = setup(model, **arguments)
            train(model, optimizer, range(4))
            optimizer.flush()
            if resumed:
                saved, parameters = optimizer.state_dict(), model.state_dict()
                model = make_model(seed=7)
                model.load_state_dict(parameters)
                optimizer = setup(model, **arguments)
                optimizer.load_state_dict(saved)
            train(model, optimizer, range(4, 9))
            optimizer.flush()
            results.append(weights(model))
        if arguments.get("averaging_interval", 1) == 1:
            assert torch.equal(*results), arguments
        assert_same_on_all_ranks(results[1], f"weights.{arguments}")
    saved = optimizer.state_dict()
    other = setup(make_model(), **{**LOWRANK, "factor_rank": 3})
    expect_error(partial(other.load_state_dict, saved), "saved with {'factor_rank': 2}")


def check_wire_bytes_and_collectives() -> None:
    for arguments in (LOWRANK, SCATTER):
        model = make_model()
        optimizer = setup(model, **arguments)
        train(model, optimizer, range(2))
        sent: list[int] = []
        link = next(b.exchange for b in optimizer.buckets if not isinstance(b.exchange, LowRankExchange))
        collectives = link._collectives  # type: ignore[attr-defined]
        for method in ("start_sum", "start_all_to_all", "start_all_gather"):
            original = getattr(collectives, method)

            def counted(tensor: torch.Tensor, name: str, original: Any = original, sent: Any = sent) -> Any:
                sent.append(tensor.numel() * tensor.element_size())
                return original(tensor, name)

            setattr(collectives, method, counted)
        train(model, optimizer, range(2, 3))
        assert sum(sent) == optimizer.wire_bytes_per_step()
        assert len(sent) == optimizer.collectives_per_step()
    full, few = setup(make_model()), setup(make_model(), **LOWRANK)
    assert few.wire_bytes_per_step() < 0.6 * full.wire_bytes_per_step()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def settings_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"compile_kernels": False, "min_numel": 256, **fields}


def with_horovod(fields: dict[str, Any]) -> torch.Tensor:
    model = make_model()
    optimizer = DistributedOptimizer(sgd(model), model, bucket_bytes=SMALL_BUCKETS, **settings_of(fields))
    train(model, optimizer, range(8))
    return weights(model)


def check_virtual_cluster_equals_horovod() -> None:
    for fields in (LOWRANK, SCATTER, {**SCATTER, "small_bits": 16, "scale_group": 128}):
        model = make_model()
        cluster = VirtualCluster(model, workers=2, bucket_bytes=SMALL_BUCKETS, **settings_of(fields))
        optimizer = sgd(model)
        for step in range(8):
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
    for fields in (LOWRANK, SCATTER):
        model = make_model()
        # Tiny buckets, so that there are several and DDP rebuilds them after the first step.
        ddp = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.01)
        state = GQState(model, **settings_of(fields))
        ddp.register_comm_hook(state, gq_hook)
        train(ddp, sgd(model), range(8))
        if fields is SCATTER:
            # What lies in which chunk depends on DDP's buckets.
            assert_same_on_all_ranks(weights(model), "weights.scatter")
        else:
            assert torch.equal(weights(model), with_horovod(fields)), fields
    dist.destroy_process_group()


def check_nonfinite_gradient_stops_all_ranks() -> None:
    for fields in (LOWRANK, SCATTER):
        model = make_model()
        optimizer = setup(model, **fields)
        train(model, optimizer, range(3))
        before = weights(model)
        if hvd.rank() == 1:
            spoil_gradient(model, "features.3.weight", float("nan"))
        expect_error(
            partial(train, model, optimizer, range(3, 4)), "features.3.weight is not", NonFiniteGradientError
        )
        assert torch.equal(weights(model), before), "the optimizer stepped"


def check_close_to_fp32_at_full_rank() -> None:
    """With as many columns as the matrices have rows nothing is left out, and 16 bits lose little."""
    model = make_model()
    exact = hvd.DistributedOptimizer(make_optimizer(model), named_parameters=model.named_parameters())
    train(model, exact, range(5))
    # 16 wire bits, so that even such factors save bytes for the widest matrix.
    result, _ = trained(5, form="lowrank", factor_rank=16, factor_bits=8, wire_bits=16)
    moved = (weights(model) - weights(make_model())).norm()
    # Two factors of 8 bits: steps of 1.5 * 8 / 63 rms at most, so 5.5 % in each factor; the residual delivers
    # most of it in the following step.
    assert (result - weights(model)).norm() < 0.15 * moved


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]

if __name__ == "__main__":
    run_checks(CHECKS)
