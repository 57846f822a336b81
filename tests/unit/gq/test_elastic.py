"""The fast path follows another number of workers: levels, steps, hooks; what a residual owes to the average stays."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import DistributedOptimizer, num_levels
from horovod_gq.buckets import Bucket
from pipelines.parallel.virtual_cluster import ThreadCollectives, run_workers

STEPS = 4
MODEL = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 30))  # the threads share torch's generator


def make(collectives: Any, **options: Any) -> tuple[nn.Module, DistributedOptimizer]:
    model = copy.deepcopy(MODEL)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    # Compiled kernels give the same bits, after many seconds.
    given = {"wire_bits": 4, "compile_kernels": False, "collectives": collectives, **options}
    return model, DistributedOptimizer(sgd, model, **given)


def train(model: nn.Module, optimizer: DistributedOptimizer, rank: int, steps: int = STEPS) -> None:
    generator = torch.Generator().manual_seed(rank)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 40, generator=generator)).square().mean().backward()
        optimizer.step()


def quantized(optimizer: DistributedOptimizer) -> list[Bucket]:
    return [bucket for bucket in optimizer.buckets if hasattr(bucket.exchange, "codec")]


def residuals(optimizer: DistributedOptimizer) -> dict[str, torch.Tensor]:
    return {name: entry["residual"] for name, entry in optimizer.state_dict()["gq"]["tensors"].items()}


def before(workers: int, **options: Any) -> dict[int, dict[str, Any]]:
    """The state of every rank after some steps of so many workers."""

    def work(collectives: ThreadCollectives) -> dict[str, Any]:
        model, optimizer = make(collectives, **options)
        train(model, optimizer, collectives.rank)
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    return dict(enumerate(run_workers(workers, work)))


@pytest.mark.parametrize(("old", "new"), [(3, 2), (2, 3), (2, 7), (3, 1)])
def test_residuals_levels_and_steps_follow(old: int, new: int) -> None:
    states = before(old)
    joined = states[0]["model"], {k: v for k, v in states[0]["optimizer"].items() if k != "gq"}

    def work(collectives: ThreadCollectives) -> tuple[dict[str, torch.Tensor], Any]:
        rank = collectives.rank
        model, optimizer = make(_Fixed(rank, old))
        weights, state = (states[rank]["model"], states[rank]["optimizer"]) if rank in states else joined
        model.load_state_dict(weights)
        # torch takes over the tensors of a state, and one that joins has those of rank 0.
        optimizer.load_state_dict(copy.deepcopy(state))
        optimizer._collectives = collectives  # as if Horovod had been initialized anew
        optimizer.follow_workers()
        found = residuals(optimizer)
        for bucket in quantized(optimizer):
            assert bucket.exchange.codec.levels == num_levels(4, new)
            assert bucket.exchange.codec.in_warmup, "steps of other levels were kept"
        assert bool(optimizer.buckets) == (new > 1)
        train(model, optimizer, rank)
        return found, [parameter.detach() for parameter in model.parameters()]

    ranks = run_workers(new, work)
    for rank, (found, weights) in enumerate(ranks):
        assert all(map(torch.equal, weights, ranks[0][1])), "the replicas differ"
        kept = states[rank]["optimizer"]["gq"]["tensors"] if rank in states and new > 1 else {}
        for name, value in found.items():
            owed = kept[name]["residual"] / old if kept else torch.zeros_like(value)
            # What the next average of `new` workers takes of it; two roundings of fp32.
            torch.testing.assert_close(value / new, owed, rtol=2**-22, atol=0.0)
            assert not kept or bool(value.any()), "there was nothing to keep"


class _Fixed:
    """Collectives of a worker whose partners are gone; good for a constructor that compares the settings."""

    def __init__(self, rank: int, workers: int) -> None:
        self.rank, self.workers = rank, workers

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> Any:
        return _Done(tensor.expand(self.workers, *tensor.shape))


class _Done:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def wait(self) -> torch.Tensor:
        return self.tensor


def test_hooks_of_before_are_gone() -> None:
    def work(collectives: ThreadCollectives) -> int:
        model, optimizer = make(collectives)
        train(model, optimizer, collectives.rank)
        optimizer.follow_workers()
        calls = collectives._calls
        train(model, optimizer, collectives.rank, steps=1)
        return collectives._calls - calls

    # One sum a bucket; the hooks of before would start theirs, too.
    assert run_workers(2, work) == [len(make(_Fixed(0, 2))[1].buckets)] * 2


@pytest.mark.parametrize(
    "mode",
    [{"update": "layerwise"}, {"staleness": 1}, {"averaging_interval": 2}],
    ids=lambda mode: next(iter(mode)),
)
def test_other_modes_refuse(mode: dict[str, Any]) -> None:
    _, optimizer = make(_Fixed(0, 2), **mode)
    with pytest.raises(ValueError, match="an elastic run needs update='synchronous'"):
        optimizer.follow_workers()
