"""Checks of GQ with the stock hvd.DistributedOptimizer and `groups=compression.groups`, run on two ranks."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import horovod.torch as hvd
import torch
from torch import nn

from horovod_gq import GQ, DistributedOptimizer, NonFiniteGradientError
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

SMALL_BUCKETS = 12_000
"""Bytes: splits the test model into several buckets."""

Train = Callable[[nn.Module, Any, range], None]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


LOWRANK = {"form": "lowrank", "factor_rank": 2}


def settings_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"compile_kernels": False, "min_numel": 256, "bucket_bytes": SMALL_BUCKETS, **fields}


def wrap(model: nn.Module, compression: GQ, passes: int = 1, op: Any = None, inner: Any = None) -> Any:
    return hvd.DistributedOptimizer(
        inner if inner is not None else sgd(model),
        named_parameters=model.named_parameters(),
        compression=compression,
        op=hvd.Sum if op is None else op,
        groups=compression.groups,
        backward_passes_per_step=passes,
    )


def setup(model: nn.Module, passes: int = 1, op: Any = None, **fields: Any) -> tuple[GQ, Any]:
    compression = GQ(**settings_of(fields)).bind(model)
    return compression, wrap(model, compression, passes, op)


def setup_fast(model: nn.Module, passes: int = 1, **fields: Any) -> DistributedOptimizer:
    return DistributedOptimizer(sgd(model), model, backward_passes_per_step=passes, **settings_of(fields))


def train(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step, hvd.rank()).backward()
        optimizer.step()


def check_equals_the_fast_path() -> None:
    """Same buckets, same codec: bit-identical weights."""
    for fields in (
        {"wire_bits": 4},
        {"wire_bits": 8, "rounding": "stochastic"},
        {"wire_bits": 16},
        {"wire_bits": 4, "overrides": (("classifier.weight", 3), ("features.0.*", 32))},
        {"wire_bits": 4, "error_feedback": False, "warmup_steps": 3},
        LOWRANK,
        {"small_bits": 8, "scale_group": 256},
        {"small_bits": 16, **LOWRANK, "rounding": "stochastic"},
    ):
        stock, fast = make_model(), make_model()
        train(stock, setup(stock, **fields)[1], range(12))
        train(fast, setup_fast(fast, **fields), range(12))
        assert torch.equal(weights(stock), weights(fast)), fields
        assert_same_on_all_ranks(weights(stock), f"weights.{fields}")


def check_equals_tensors_sent_one_by_one() -> None:
    for fields in ({}, {"small_bits": 8, "rounding": "stochastic"}, {"scale_group": 128}):
        grouped, single = make_model(), make_model()
        train(grouped, setup(grouped, **fields)[1], range(8))
        compression = GQ(**settings_of(fields)).bind(single)
        optimizer = hvd.DistributedOptimizer(
            sgd(single), named_parameters=single.named_parameters(), compression=compression, op=hvd.Sum
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(single, optimizer, range(8))
        assert torch.equal(weights(grouped), weights(single)), fields
        lost = [str(w.message) for w in caught if "groups=compression.groups" in str(w.message)]
        assert len(lost) == (1 if hvd.rank() == 0 else 0), lost


def accumulate(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        for part in range(3):
            loss_of(model, 3 * step + part, hvd.rank()).backward()
        optimizer.step()


def clip(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step, hvd.rank()).backward()
        optimizer.synchronize()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        assert_same_on_all_ranks(norm.view(1), "norm")
        with optimizer.skip_synchronize():
            optimizer.step()


def scale(model: nn.Module, optimizer: Any, steps: range) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in steps:
        optimizer.zero_grad()
        loss = loss_of(model, step, hvd.rank())
        if step == 3 and hvd.rank() == 1:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        optimizer.synchronize()
        before = weights(model)
        scaler.unscale_(optimizer)
        with optimizer.skip_synchronize():
            scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, weights(model)) == (step == 3), step
    assert scaler.get_scale() == 2.0**9


def keep_gradient_tensors(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        model.zero_grad(set_to_none=False)
        loss_of(model, step, hvd.rank()).backward()
        optimizer.step()


def check_every_way_to_step_equals_the_fast_path() -> None:
    ways: list[tuple[Train, dict[str, Any]]] = [
        (accumulate, {"passes": 3}),
        (clip, {}),
        (scale, {"nonfinite": "propagate"}),
        (keep_gradient_tensors, {}),
    ]
    for way, arguments in ways:
        stock, fast = make_model(), make_model()
        way(stock, setup(stock, **arguments)[1], range(6))
        way(fast, setup_fast(fast, **arguments), range(6))
        assert torch.isfinite(weights(stock)).all()
        assert torch.equal(weights(stock), weights(fast)), way.__name__


def check_broadcast_after_wrapping() -> None:
    """As Horovod's examples do it: rank 0 has a checkpoint, and the wrapped optimizer's state is broadcast."""
    checkpoint = make_model()
    inner = sgd(checkpoint)
    loss_of(checkpoint, 0, 0).backward()
    inner.step()
    model = make_model(seed=10 + hvd.rank())
    _, optimizer = setup(model)
    state = copy.deepcopy(inner.state_dict())
    if hvd.rank() == 0:
        model.load_state_dict(checkpoint.state_dict())
        optimizer.load_state_dict(inner.state_dict())
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    train(model, optimizer, range(4))
    reference = make_model()
    reference.load_state_dict(checkpoint.state_dict())
    fast = setup_fast(reference)
    fast.load_state_dict(state)
    train(reference, fast, range(4))
    assert torch.equal(weights(model), weights(reference))


def check_wire_bytes_and_groups() -> None:
    for fields in ({}, LOWRANK):
        model, other = make_model(), make_model()
        compression, optimizer = setup(model, **fields)
        train(model, optimizer, range(2))
        sent: list[int] = []
        original = compression.compress

        def counting(tensor: torch.Tensor, original: Any = original, sent: Any = sent) -> Any:
            message, ctx = original(tensor)
            sent.append(message.numel() * message.element_size())
            return message, ctx

        optimizer._compression.compress = counting
        plain = next(g.bucket.exchange for g in compression._groups if g.bucket.wire_bits == 32)
        link = plain._collectives  # type: ignore[attr-defined]
        start_sum = link.start_sum

        def counted(tensor: torch.Tensor, name: str, start_sum: Any = start_sum, sent: Any = sent) -> Any:
            sent.append(tensor.numel() * tensor.element_size())
            return start_sum(tensor, name)

        link.start_sum = counted
        train(model, optimizer, range(2, 3))
        assert sum(sent) == compression.wire_bytes_per_step()
        fast = setup_fast(other, **fields)
        num_tensors = len(list(model.parameters()))
        assert len(sent) == num_tensors + fast.collectives_per_step()
        assert compression.wire_bytes_per_step() == fast.wire_bytes_per_step() + 4 * num_tensors


def check_resume_continues_bit_for_bit() -> None:
    for fields in ({"wire_bits": 4}, {"small_bits": 8, "scale_group": 128}, LOWRANK):
        straight = make_model()
        train(straight, setup(straight, **fields)[1], range(8))
        model = make_model()
        compression, optimizer = setup(model, **fields)
        train(model, optimizer, range(4))
        saved = (compression.state_dict(), optimizer.state_dict(), model.state_dict())
        for grouped in (True, False) if "form" not in fields else (True,):
            again = make_model(seed=5)
            again.load_state_dict(saved[2])
            compression = GQ(**settings_of(fields)).bind(again)
            groups = {"groups": compression.groups} if grouped else {}
            optimizer = hvd.DistributedOptimizer(
                sgd(again),
                named_parameters=again.named_parameters(),
                compression=compression,
                op=hvd.Sum,
                **groups,
            )
            compression.load_state_dict(saved[0])
            optimizer.load_state_dict(copy.deepcopy(saved[1]))  # loading a state shares its tensors
            train(again, optimizer, range(4, 8))
            assert torch.equal(weights(again), weights(straight)), (fields, grouped)


def check_parameters_that_no_rank_uses() -> None:
    """Horovod then sends the tensors of that group one by one, in an order that differs between the ranks."""
    model, reference = make_model(), make_model()
    for each in (model, reference):
        for index in range(4):
            setattr(each, f"extra{index}", nn.Linear(32, 32))
            getattr(each, f"extra{index}").load_state_dict({"weight": torch.eye(32), "bias": torch.ones(32)})
    train(model, setup(model, bucket_bytes=2**21)[1], range(5))
    train(reference, setup_fast(reference, bucket_bytes=2**21), range(5))
    assert torch.equal(weights(model), weights(reference))


def check_mixed_types() -> None:
    """fp32 parameters travel in buckets, others by themselves."""
    model = make_model()
    model.classifier.to(torch.bfloat16)  # type: ignore[operator, union-attr]
    compression, optimizer = setup(model)
    assert sum(len(group) for group in compression.groups) == len(list(model.parameters())) - 2
    for step in range(4):
        optimizer.zero_grad()
        images, labels = make_batch(step, hvd.rank())
        hidden = model.features(images).flatten(1).to(torch.bfloat16)  # type: ignore[operator]
        nn.functional.cross_entropy(model.classifier(hidden).float(), labels).backward()  # type: ignore[operator]
        optimizer.step()
    assert_same_on_all_ranks(weights(model), "weights.mixed")


def check_order_and_groups_do_not_matter() -> None:
    """Neither in which order gradients come, nor whether Horovod got the groups, nor how it sums placeholders."""
    reference = make_model()
    train(reference, setup_fast(reference), range(5))
    for groups, op in ((False, hvd.Sum), (True, hvd.Average)):
        model = make_model()
        backwards = list(model.named_parameters())[::-1]
        compression = GQ(**settings_of({"bucket_bytes": 2**21})).bind(backwards)
        found = compression.groups
        optimizer = hvd.DistributedOptimizer(
            sgd(model),
            named_parameters=model.named_parameters(),
            compression=compression,
            op=op,
            groups=found if groups else None,
        )
        train(model, optimizer, range(5))
        assert torch.equal(weights(model), weights(reference)), (groups, op)


def check_parameters_that_one_rank_uses() -> None:
    """Possible when Horovod did not get the groups: with groups it waits for ever by itself."""
    model = make_model()
    model.extra = nn.Linear(32, 32)  # type: ignore[assignment]
    compression = GQ(**settings_of({})).bind(model)
    assert compression.groups
    optimizer = hvd.DistributedOptimizer(
        sgd(model), named_parameters=model.named_parameters(), compression=compression, op=hvd.Sum
    )
    for step in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, step, hvd.rank())
        if hvd.rank() == 0:
            loss = loss + model.extra(torch.ones(1, 32)).square().sum()  # type: ignore[operator]
        loss.backward()
        optimizer.step()
    assert_same_on_all_ranks(weights(model), "weights.one_rank")


def check_bound_parameters_that_are_not_trained() -> None:
    model = make_model()
    compression = GQ(**settings_of({"bucket_bytes": 2**21})).bind(model)
    classifier = torch.optim.SGD(model.classifier.parameters(), lr=0.1)  # type: ignore[union-attr]
    optimizer = wrap(model, compression, inner=classifier)
    expect_error(lambda: train(model, optimizer, range(1)), "the optimizer does not train it")


def check_groups_are_read_before_the_first_step() -> None:
    expect_error(lambda: GQ().groups, "bind(model)")
    model = make_model()
    compression = GQ(**settings_of({})).bind(model)
    optimizer = hvd.DistributedOptimizer(
        sgd(model), named_parameters=model.named_parameters(), compression=compression, op=hvd.Sum
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(model, optimizer, range(1))
    expect_error(lambda: compression.groups, "before the first step")
    model = make_model()
    compression = GQ(**settings_of(LOWRANK)).bind(model)
    optimizer = hvd.DistributedOptimizer(
        sgd(model), named_parameters=model.named_parameters(), compression=compression, op=hvd.Sum
    )
    expect_error(lambda: train(model, optimizer, range(1)), "form='lowrank' needs buckets")


def check_different_settings() -> None:
    for fields in ({"seed": hvd.rank()}, {"wire_bits": 4 * (1 + hvd.rank())}):
        model = make_model()
        _, optimizer = setup(model, **fields)
        expect_error(partial(train, model, optimizer, range(1)), "other settings")


def check_nonfinite_gradient_stops_all_ranks() -> None:
    for value, name in ((float("nan"), "features.3.weight"), (float("inf"), "classifier.bias")):
        model = make_model()
        _, optimizer = setup(model)
        train(model, optimizer, range(2))
        before = weights(model)
        if hvd.rank() == 1:
            spoil_gradient(model, name, value)
        expect_error(partial(train, model, optimizer, range(2, 3)), name, NonFiniteGradientError)
        assert torch.equal(weights(model), before), "the optimizer stepped"


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]

if __name__ == "__main__":
    run_checks([check for check in CHECKS if not sys.argv[1:] or check.__name__ in sys.argv[1:]])
