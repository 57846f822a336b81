"""When a bucket is sent: by one hook once the order is known, and whatever comes in another order."""

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import DistributedOptimizer
from horovod_gq.buckets import Bucket, build_buckets
from horovod_gq.config import GQConfig
from horovod_gq.reducer import GradientReducer
from horovod_gq.timing import Timings
from pipelines.parallel.virtual_cluster import run_workers

CONFIG = GQConfig(wire_bits=8, compile_kernels=False, min_numel=1, warmup_steps=100)
"""All messages are fp32, so an average of equal gradients is the gradient, exactly."""
ROWS = 128


class Done:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def wait(self) -> torch.Tensor:
        return self.tensor


class Twins:
    """Two workers with the same gradients, of which one is here."""

    rank, workers = 0, 2

    def start_sum(self, tensor: torch.Tensor, _name: str) -> Done:
        return Done(tensor + tensor)

    def start_all_to_all(self, tensor: torch.Tensor, _name: str) -> Done:
        return Done(torch.stack([tensor[0], tensor[0]]))

    def start_all_gather(self, tensor: torch.Tensor, _name: str) -> Done:
        return Done(torch.stack([tensor, tensor]))


class Branches(nn.Module):
    """Layers [128, 128] in one of two orders, some of them not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(ROWS, ROWS, bias=False) for _ in range(4))
        self.order: list[int] = [0, 1, 2, 3]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for number in self.order:
            values = self.layers[number](values).relu() + values
        return values.square().mean()


class Step:
    """A model with its reducer, and what was sent in a step, and when."""

    def __init__(self, *, bucket_bytes: int, passes: int = 1, every_hook: bool = False) -> None:
        torch.manual_seed(0)
        self.model, self.passes = Branches(), passes
        named = list(self.model.named_parameters())
        self.buckets = build_buckets(named, CONFIG, Twins(), Timings(), bucket_bytes=bucket_bytes)
        self.reducer = GradientReducer(self.buckets, CONFIG, passes, every_hook=every_hook)
        self.sent: list[tuple[str, ...]] = []
        for bucket in self.buckets:
            self._observe(bucket)

    def _observe(self, bucket: Bucket) -> None:
        start: Callable[..., None] = bucket.exchange.start

        def observed(*arguments: Any) -> None:
            self.sent.append(tuple(bucket.names))
            start(*arguments)

        bucket.exchange.start = observed  # type: ignore[method-assign]

    def backward(self, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for _ in range(self.passes):
            self.model(torch.randn(8, ROWS, generator=generator)).backward()

    def expected(self, number: int) -> list[torch.Tensor]:
        """The gradients of an equal model without any of it."""
        copy = Branches()
        copy.load_state_dict(self.model.state_dict())
        copy.order = self.model.order
        generator = torch.Generator().manual_seed(number)
        for _ in range(self.passes):
            copy(torch.randn(8, ROWS, generator=generator)).backward()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in copy.parameters()]

    def run(self, number: int) -> int:
        """Make a step, check its gradients, and return how many buckets were sent during the backward pass."""
        self.sent.clear()
        self.reducer.zero_gradients()
        self.backward(number)
        early = len(self.sent)
        self.reducer.start_rest()
        self.reducer.finish(0)
        assert self.sent == [tuple(bucket.names) for bucket in self.buckets]  # each once, in order
        for parameter, expected in zip(self.model.parameters(), self.expected(number), strict=True):
            assert torch.equal(parameter.grad, expected)  # type: ignore[arg-type]
        return early

    def num_hooks(self) -> int:
        return sum(len(parameter._post_accumulate_grad_hooks or ()) for parameter in self.model.parameters())


TWO_A_BUCKET = 2 * 4 * ROWS * ROWS


@pytest.mark.parametrize("passes", [1, 2])
def test_one_hook_a_bucket_is_enough_once_the_order_is_known(passes: int) -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET, passes=passes)
    assert (len(step.buckets), step.num_hooks()) == (2, 4)
    for number in range(3):
        assert step.run(number) == 2
        assert step.num_hooks() == 2


def test_every_hook_stays_where_it_is_asked_for() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET, every_hook=True)
    assert [step.run(number) for number in range(2)] == [2, 2]
    assert step.num_hooks() == 4


def test_another_order_is_sent_at_the_end_and_learned() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET)
    assert step.run(0) == 2
    step.model.order = [1, 0, 2, 3]  # the bucket of layers 0 and 1 has another last gradient
    assert step.run(1) == 1
    assert step.num_hooks() == 3
    assert step.run(2) == 2
    assert step.num_hooks() == 2


def test_a_layer_that_is_not_used_counts_as_zero() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET)
    assert step.run(0) == 2
    for number, order in enumerate(([1, 2, 3], [0, 1, 2, 3], [0, 2, 3], [0, 1, 2, 3]), start=1):
        step.model.order = order
        step.run(number)


def test_gradients_elsewhere_than_in_the_bucket_are_fetched_at_the_end() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET)
    step.run(0)
    step.sent.clear()
    step.model.zero_grad(set_to_none=True)
    step.backward(1)
    assert step.sent == []
    step.reducer.start_rest()
    step.reducer.finish(0)
    for parameter, expected in zip(step.model.parameters(), step.expected(1), strict=True):
        assert torch.equal(parameter.grad, expected)  # type: ignore[arg-type]


def test_a_gradient_that_comes_after_its_bucket_was_sent_is_an_error() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET)
    step.run(0)
    step.reducer.zero_gradients()
    step.backward(1)
    step.model.layers[0].weight.grad.add_(1.0)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="came in after its bucket was sent"):
        step.reducer.start_rest()


def test_a_pass_too_many_is_an_error_by_one_hook_too() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET)
    step.run(0)
    step.reducer.zero_gradients()
    step.backward(1)
    with pytest.raises(ValueError, match="gradients from 2 backward passes"):
        step.backward(2)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_tensor_that_fills_a_bucket_is_sent_from_where_its_gradient_is(passes: int) -> None:
    step = Step(bucket_bytes=4 * ROWS * ROWS, passes=passes)
    assert [bucket.whole for bucket in step.buckets] == [True] * 4
    for number in range(2):
        assert step.run(number) == 4
    step.reducer.zero_gradients()
    assert all(parameter.grad is None for parameter in step.model.parameters())
    step.backward(2)
    for bucket in step.buckets:
        assert bucket.parameters[0].grad is not bucket.exchange.views[0]


def test_a_tensor_with_padding_is_copied() -> None:
    model = nn.Linear(ROWS - 1, 3, bias=False)
    (bucket,) = build_buckets(list(model.named_parameters()), CONFIG, Twins(), Timings())
    assert not bucket.whole
    reducer = GradientReducer([bucket], CONFIG, 1)
    model(torch.ones(2, ROWS - 1)).sum().backward()
    reducer.start_rest()
    reducer.finish(0)
    assert torch.equal(model.weight.grad, torch.full((3, ROWS - 1), 2.0))  # type: ignore[arg-type]


def test_a_dropped_reducer_leaves_no_hook() -> None:
    step = Step(bucket_bytes=TWO_A_BUCKET)
    step.run(0)
    assert step.num_hooks() == 2
    del step.reducer
    gc.collect()
    assert step.num_hooks() == 0


@pytest.mark.parametrize("mode", [{}, {"update": "layerwise"}, {"staleness": 1}, {"averaging_interval": 2}])
def test_a_dropped_optimizer_and_its_model_are_gone(mode: dict[str, Any]) -> None:
    start = Branches()

    def work(collectives: Any) -> list[Any]:
        model = copy.deepcopy(start)
        optimizer = DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.1), model, CONFIG, collectives=collectives, **mode
        )
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(8, ROWS)).backward()
            optimizer.step()
        optimizer.flush()
        return [weakref.ref(one) for one in (model, optimizer, optimizer.buckets[0])]

    left = run_workers(2, work)
    gc.collect()
    assert [reference() for worker in left for reference in worker] == [None] * 6
