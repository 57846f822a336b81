"""Checks of the fast path, run on two ranks."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn

import horovod_gq
from horovod_gq import GQ, DistributedOptimizer, NonFiniteGradientError
from tests.parallel.gq.common import (
    assert_same_on_all_ranks,
    expect_error,
    loss_of,
    make_model,
    run_checks,
    spoil_gradient,
    weights,
)

SMALL_BUCKETS = 12_000
"""Bytes: splits the test model into several buckets."""


def make_optimizer(model: nn.Module, momentum: float = 0.9) -> torch.optim.Optimizer:
    """SGD with two parameter groups, as for weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 1e-3}, {"params": vectors, "lr": 0.02}]
    return torch.optim.SGD(groups, lr=0.05, momentum=momentum)


def setup(model: nn.Module, **arguments: Any) -> DistributedOptimizer:
    defaults = {"compile_kernels": False, "min_numel": 256, "bucket_bytes": SMALL_BUCKETS}
    # With momentum 0.9 the delayed run is unstable at this rate.
    inner = make_optimizer(model, momentum=0.0 if arguments.get("staleness") else 0.9)
    return DistributedOptimizer(inner, model, **{**defaults, **arguments})


def train(model: nn.Module, optimizer: Any, steps: range, scheduler: Any = None) -> list[float]:
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = loss_of(model, step, hvd.rank())
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        losses.append(float(hvd.allreduce(loss.detach(), name="loss")))
    return losses


def trained(steps: int = 12, decay: bool = False, **arguments: Any) -> tuple[torch.Tensor, list[float]]:
    model = make_model()
    optimizer = setup(model, **arguments)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5) if decay else None
    losses = train(model, optimizer, range(steps), scheduler)
    optimizer.flush()
    return weights(model), losses


def check_equals_the_stock_path() -> None:
    """Same codec, other message layout: bit-identical weights."""
    for fields in ({"wire_bits": 4}, {"wire_bits": 8, "rounding": "stochastic"}, {"wire_bits": 3}):
        fields = {"compile_kernels": False, "min_numel": 256, **fields}
        model = make_model()
        optimizer = hvd.DistributedOptimizer(
            make_optimizer(model),
            named_parameters=model.named_parameters(),
            compression=GQ(**fields).bind(model),
            op=hvd.Sum,
        )
        train(model, optimizer, range(12))
        fast, _ = trained(**fields)
        assert torch.equal(fast, weights(model)), fields


def check_learns_in_every_mode() -> None:
    modes: list[dict[str, Any]] = [
        {"wire_bits": 4},
        {"wire_bits": 2, "exchange": "scatter_reduce_allgather"},
        {"wire_bits": 4, "exchange": "scatter_reduce_allgather", "rounding": "stochastic"},
        {"wire_bits": 4, "averaging_interval": 4},
        {"wire_bits": 3, "staleness": 2},
        {"wire_bits": 8, "update": "layerwise"},
        {"wire_bits": 4, "overrides": (("classifier.weight", 16), ("features.0.*", 32))},
    ]
    for mode in modes:
        result, losses = trained(40, **mode)
        assert sum(losses[-10:]) / 10 < 0.92 * sum(losses[:5]) / 5, (mode, losses)
        assert_same_on_all_ranks(result, f"weights.{mode}")


def check_layerwise_equals_synchronous() -> None:
    for exchange in ("allreduce", "scatter_reduce_allgather"):
        arguments: dict[str, Any] = {"wire_bits": 4, "decay": True, "exchange": exchange}
        synchronous, _ = trained(**arguments)
        layerwise, _ = trained(update="layerwise", **arguments)
        assert torch.equal(synchronous, layerwise), exchange


def check_layerwise_waits_where_parameters_are_read() -> None:
    model, reference = make_model(), make_model()
    optimizer, synchronous = setup(model, update="layerwise"), setup(reference)
    train(model, optimizer, range(3))
    train(reference, synchronous, range(3))
    saved, expected = model.state_dict(), reference.state_dict()
    assert all(torch.equal(saved[key], expected[key]) for key in expected)
    loss_of(model, 3, hvd.rank()).backward()
    optimizer.step()
    with_weights = nn.functional.linear(torch.ones(1, 128), model.classifier.weight)  # type: ignore[arg-type]
    expect_error(lambda: with_weights.sum().backward(), "before its update")
    optimizer.flush()


def check_special_cases_equal_synchronous() -> None:
    reference, _ = trained(wire_bits=4)
    assert torch.equal(trained(wire_bits=4, averaging_interval=1)[0], reference)
    assert torch.equal(trained(wire_bits=4, staleness=0)[0], reference)


def check_staleness_applies_the_sum_of_earlier_steps() -> None:
    """With plain SGD of rate 1 and 16 bits, p_{t+1} = p_t - g_{t-1}: compare with gradients by hand."""
    model = make_model().eval()
    optimizer = DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1),
        model,
        wire_bits=16,
        staleness=1,
        clip_factor=64.0,
        compile_kernels=False,
    )
    start, gradients, history = weights(model), [], []
    for step in range(5):
        loss_of(model, step, hvd.rank()).backward()
        local = torch.cat([p.grad.reshape(-1) for p in model.parameters()])  # type: ignore[union-attr]
        gradients.append(hvd.allreduce(local, name="local"))
        optimizer.step()
        history.append(weights(model))
    assert torch.equal(history[0], start)
    for step in range(1, 5):
        expected = history[step - 1] - 0.1 * gradients[step - 1]
        # 16 bits, clipping at 64 rms (so hardly ever): steps of up to 1.5 * 64 / 16383 rms, errors below
        # that / sqrt(12), twice with what feedback carries over: 0.4 % of the update in norm.
        error, update = (history[step] - expected).norm(), 0.1 * gradients[step - 1].norm()
        assert error < 4e-3 * update, (step, float(error), float(update))
    optimizer.flush()
    assert not torch.equal(weights(model), history[-1])


def check_interval_keeps_ranks_apart_and_joins_them() -> None:
    model = make_model()
    optimizer = setup(model, wire_bits=8, averaging_interval=3)
    train(model, optimizer, range(2))
    both = hvd.allgather(weights(model).view(1, -1), name="apart")
    assert not torch.equal(both[0], both[1]), "local steps must differ"
    expect_error(optimizer.state_dict, "flush()")
    train(model, optimizer, range(2, 3))
    assert_same_on_all_ranks(weights(model), "weights.joined")
    optimizer.state_dict()


def check_close_to_fp32() -> None:
    """The whole wrapper at 16 bits against Horovod without compression, both exchanges."""
    model = make_model()
    exact = hvd.DistributedOptimizer(make_optimizer(model), named_parameters=model.named_parameters())
    train(model, exact, range(5))
    for exchange in ("allreduce", "scatter_reduce_allgather"):
        result, _ = trained(5, wire_bits=16, exchange=exchange)
        moved = (weights(model) - weights(make_model())).norm()
        assert (result - weights(model)).norm() < 5e-3 * moved, exchange


def check_resume_continues_bit_for_bit() -> None:
    for arguments in (
        {"wire_bits": 4, "rounding": "stochastic"},
        {"wire_bits": 4, "exchange": "scatter_reduce_allgather"},
        {"wire_bits": 4, "update": "layerwise"},
    ):
        straight, _ = trained(8, **arguments)
        model = make_model()
        optimizer = setup(model, **arguments)
        train(model, optimizer, range(4))
        saved, parameters = optimizer.state_dict(), model.state_dict()
        again = make_model(seed=7)
        again.load_state_dict(parameters)
        optimizer = setup(again, **arguments)
        optimizer.load_state_dict(saved)
        train(again, optimizer, range(4, 8))
        optimizer.flush()
        assert torch.equal(weights(again), straight), arguments
        other = setup(make_model(), **{**arguments, "wire_bits": 16})
        expect_error(partial(other.load_state_dict, saved), "saved with")


def check_different_settings_stop_all_ranks() -> None:
    expect_error(
        lambda: setup(make_model(), wire_bits=4 * (1 + hvd.rank())), "other settings, another model or"
    )


def check_different_versions_stop_all_ranks() -> None:
    version = horovod_gq.__version__
    horovod_gq.__version__ = f"{version}.{hvd.rank()}"
    try:
        expect_error(lambda: setup(make_model()), "another version than rank 0")
    finally:
        horovod_gq.__version__ = version


def check_nonfinite_gradient_stops_all_ranks() -> None:
    for exchange in ("allreduce", "scatter_reduce_allgather"):
        for value, name in ((float("nan"), "features.3.weight"), (float("inf"), "features.1.bias")):
            model = make_model()
            optimizer = setup(model, exchange=exchange)
            train(model, optimizer, range(2))
            before = weights(model)
            if hvd.rank() == 1:
                spoil_gradient(model, name, value)
            expect_error(partial(train, model, optimizer, range(2, 3)), name, NonFiniteGradientError)
            assert torch.equal(weights(model), before), "the optimizer stepped"


def check_grad_scaler_skips_and_recovers() -> None:
    model = make_model()
    optimizer = setup(model, nonfinite="propagate")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scales = []
    for step in range(6):
        optimizer.zero_grad()
        loss = loss_of(model, step, hvd.rank())
        if step == 3 and hvd.rank() == 1:
            loss = loss * float("inf")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scaler.scale(loss).backward()
        optimizer.synchronize()
        before = weights(model)
        scaler.unscale_(optimizer)
        with optimizer.skip_synchronize():
            scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        assert torch.equal(before, weights(model)) == (step == 3), step
    assert scales[3] == scales[2] / 2
    assert torch.isfinite(weights(model)).all()
    assert_same_on_all_ranks(weights(model), "weights.scaler")


def check_clipping_sees_the_average() -> None:
    model = make_model()
    optimizer = setup(model, wire_bits=8)
    for step in range(3):
        optimizer.zero_grad()
        loss_of(model, step, hvd.rank()).backward()
        optimizer.synchronize()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        assert_same_on_all_ranks(norm.view(1), "norm")
        optimizer.step()
    assert_same_on_all_ranks(weights(model), "weights.clipped")


def check_accumulation_and_missing_gradients() -> None:
    model, reference = make_model().eval(), make_model().eval()
    for each in (model, reference):
        each.extra = nn.Linear(32, 32)  # type: ignore[assignment]
        each.extra.load_state_dict({"weight": torch.eye(32), "bias": torch.zeros(32)})  # type: ignore[operator, union-attr]
    twice, once = setup(model, backward_passes_per_step=2), setup(reference)
    for step in range(3):
        twice.zero_grad()
        loss_of(model, 2 * step, hvd.rank()).backward()
        loss_of(model, 2 * step + 1, hvd.rank()).backward()
        twice.step()
        model.zero_grad(set_to_none=True)  # must not break the buckets
        once.zero_grad()
        (loss_of(reference, 2 * step, hvd.rank()) + loss_of(reference, 2 * step + 1, hvd.rank())).backward()
        if hvd.rank() == 0:
            (reference.extra(torch.ones(1, 32)).sum() * 0).backward()  # type: ignore[operator]
        once.step()
    # Same sums in another order: fp32 rounding may move a value over a rounding boundary of the grid.
    difference = (weights(model) - weights(reference)).norm()
    assert difference < 1e-2 * (weights(reference)[:5000] - weights(make_model())[:5000]).norm()
    assert_same_on_all_ranks(weights(model), "weights.accumulated")
    loss_of(reference, 0, hvd.rank()).backward()
    expect_error(lambda: loss_of(reference, 0, hvd.rank()).backward(), "backward_passes_per_step")


def check_shared_parameters() -> None:
    model = make_model()
    model.twin = nn.Linear(128, 10)  # type: ignore[assignment]
    model.twin.weight = model.classifier.weight  # type: ignore[union-attr]
    optimizer = setup(model)
    for step in range(3):
        optimizer.zero_grad()
        (loss_of(model, step, hvd.rank()) + model.twin(torch.ones(1, 128)).sum()).backward()  # type: ignore[operator]
        optimizer.step()
    assert_same_on_all_ranks(weights(model), "weights.shared")


def check_wire_bytes_and_collectives() -> None:
    for arguments in ({}, {"exchange": "scatter_reduce_allgather"}):
        model = make_model()
        optimizer = setup(model, **arguments)
        train(model, optimizer, range(2))
        sent: list[int] = []
        collectives = optimizer.buckets[0].exchange._collectives  # type: ignore[attr-defined]
        for method in ("start_sum", "start_all_to_all", "start_all_gather"):
            original = getattr(collectives, method)

            def counted(tensor: torch.Tensor, name: str, original: Any = original, sent: Any = sent) -> Any:
                sent.append(tensor.numel() * tensor.element_size())
                return original(tensor, name)

            setattr(collectives, method, counted)
        train(model, optimizer, range(2, 3))
        assert sum(sent) == optimizer.wire_bytes_per_step()
        assert len(sent) == optimizer.collectives_per_step() < 12


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]

if __name__ == "__main__":
    run_checks([check for check in CHECKS if not sys.argv[1:] or check.__name__ in sys.argv[1:]])
