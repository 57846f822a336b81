"""Checks of GQ with the stock hvd.DistributedOptimizer, run on two ranks."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn

from horovod_gq import GQ, NonFiniteGradientError
from tests.parallel.gq.common import (
    assert_same_on_all_ranks,
    expect_error,
    loss_of,
    make_batch,
    make_model,
    run_checks,
    spoil_gradient,
    weights,
)


def setup(model: nn.Module, op: Any = None, passes: int = 1, **fields: Any) -> tuple[GQ, Any]:
    fields = {"compile_kernels": False, "min_numel": 256, **fields}
    compression = GQ(**fields).bind(model)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        named_parameters=model.named_parameters(),
        compression=compression,
        op=hvd.Sum if op is None else op,
        backward_passes_per_step=passes,
    )
    return compression, optimizer


def train(model: nn.Module, optimizer: Any, steps: range) -> list[float]:
    losses = []
    for step in steps:
        optimizer.zero_grad()
        loss = loss_of(model, step, hvd.rank())
        loss.backward()
        optimizer.step()
        losses.append(float(hvd.allreduce(loss.detach(), name="loss")))
    return losses


def check_learns_with_identical_replicas() -> None:
    for fields in ({"wire_bits": 4}, {"wire_bits": 8, "rounding": "stochastic"}, {"wire_bits": 16}):
        model = make_model()
        _, optimizer = setup(model, **fields)
        losses = train(model, optimizer, range(40))
        assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), (fields, losses)
        assert_same_on_all_ranks(weights(model), f"weights.{fields}")


def check_close_to_fp32_at_16_bits() -> None:
    """At 16 bits L = 16383, so a step is at most rms * 8 / 16383: the run must stay near the fp32 run."""
    quantized, exact = make_model(), make_model()
    _, optimizer = setup(quantized, wire_bits=16)
    train(quantized, optimizer, range(5))
    reference = hvd.DistributedOptimizer(
        torch.optim.SGD(exact.parameters(), lr=0.05, momentum=0.9), named_parameters=exact.named_parameters()
    )
    train(exact, reference, range(5))
    moved = (weights(exact) - weights(make_model())).norm()
    # 5 steps, each with a relative error of about 8 / 16383 / sqrt(12) < 2e-4 of the gradient, momentum sum < 5.
    assert (weights(quantized) - weights(exact)).norm() < 5e-3 * moved


def check_wire_bytes() -> None:
    model = make_model()
    compression, optimizer = setup(model, wire_bits=4)
    sent: list[int] = []
    original = compression.compress

    def counting(tensor: torch.Tensor) -> Any:
        message, ctx = original(tensor)
        sent.append(message.numel() * message.element_size())
        return message, ctx

    optimizer._compression.compress = counting  # type: ignore[method-assign]
    train(model, optimizer, range(2))
    sent.clear()
    train(model, optimizer, range(2, 3))
    assert sum(sent) == compression.wire_bytes_per_step()


def check_wrong_reduce_op() -> None:
    model = make_model()
    _, optimizer = setup(model, op=hvd.Average)
    expect_error(lambda: train(model, optimizer, range(1)), "use op=hvd.Sum")


def check_different_settings() -> None:
    model = make_model()
    _, optimizer = setup(model, wire_bits=4 if hvd.rank() == 0 else 8)
    expect_error(lambda: train(model, optimizer, range(1)), "different settings")


def check_nonfinite_gradient_stops_all_ranks() -> None:
    for bad, name in (
        (float("nan"), "features.3.weight"),
        (float("inf"), "classifier.bias"),
        (float("-inf"), "features.0.weight"),
    ):
        model = make_model()
        _, optimizer = setup(model, wire_bits=4)
        train(model, optimizer, range(2))
        before = weights(model)
        if hvd.rank() == 1:
            spoil_gradient(model, name, bad)
        expect_error(partial(train, model, optimizer, range(2, 3)), name, NonFiniteGradientError)
        assert torch.equal(weights(model), before), "the optimizer stepped"


def check_missing_gradient_on_one_rank() -> None:
    model = make_model()
    model.extra = nn.Linear(32, 32)  # type: ignore[assignment]
    _, optimizer = setup(model, wire_bits=4)
    for step in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, step, hvd.rank())
        if hvd.rank() == 0:
            loss = loss + model.extra(torch.ones(1, 32)).square().sum()  # type: ignore[operator]
        loss.backward()
        optimizer.step()
    assert_same_on_all_ranks(weights(model), "weights.missing")


def check_other_types_and_memory_formats() -> None:
    """bfloat16 parameters and channels_last gradients, which are no contiguous rows."""
    for fields in ({"dtype": torch.bfloat16}, {"memory_format": torch.channels_last}):
        model = make_model().to(**fields)
        _, optimizer = setup(model, wire_bits=8)
        for step in range(3):
            optimizer.zero_grad()
            images, labels = make_batch(step, hvd.rank())
            nn.functional.cross_entropy(model(images.to(**fields)), labels).backward()
            optimizer.step()
        assert {p.grad.dtype for p in model.parameters()} == {fields.get("dtype", torch.float32)}
        assert_same_on_all_ranks(weights(model).float(), f"weights.{fields}")


def check_resume_continues_bit_for_bit() -> None:
    for fields in ({"wire_bits": 4}, {"wire_bits": 4, "rounding": "stochastic"}):
        straight, resumed = make_model(), make_model()
        _, optimizer = setup(straight, **fields)
        train(straight, optimizer, range(8))
        compression, optimizer = setup(resumed, **fields)
        train(resumed, optimizer, range(4))
        saved = (compression.state_dict(), optimizer.state_dict(), resumed.state_dict())
        again = make_model(seed=5)
        again.load_state_dict(saved[2])
        compression, optimizer = setup(again, **fields)
        compression.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
        train(again, optimizer, range(4, 8))
        assert torch.equal(weights(again), weights(straight)), fields


def check_gradient_accumulation() -> None:
    """Two backward passes a step must equal one pass over the summed loss."""
    twice, once = make_model().eval(), make_model().eval()
    _, optimizer = setup(twice, passes=2, wire_bits=4)
    for step in range(3):
        optimizer.zero_grad()
        loss_of(twice, 2 * step, hvd.rank()).backward()
        loss_of(twice, 2 * step + 1, hvd.rank()).backward()
        optimizer.step()
    _, optimizer = setup(once, wire_bits=4)
    for step in range(3):
        optimizer.zero_grad()
        (loss_of(once, 2 * step, hvd.rank()) + loss_of(once, 2 * step + 1, hvd.rank())).backward()
        optimizer.step()
    # Same sums in another order: fp32 rounding may move a value over a rounding boundary of the grid.
    assert (weights(twice) - weights(once)).norm() < 1e-2 * (weights(once) - weights(make_model())).norm()
    assert_same_on_all_ranks(weights(twice), "weights.accumulated")


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]

if __name__ == "__main__":
    run_checks([check for check in CHECKS if not sys.argv[1:] or check.__name__ in sys.argv[1:]])
