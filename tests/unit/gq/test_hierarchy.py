"""Hierarchical exchange on virtual workers: the same as GQ between the hosts, with the mean of each host."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
from torch import nn

from horovod_gq import DistributedOptimizer, NonFiniteGradientError
from horovod_gq.collectives import Collectives
from horovod_gq.hierarchy import Hosts
from pipelines.parallel.virtual_cluster import ThreadCollectives, _Board, run_workers

Result = TypeVar("Result")
STEPS = 5
FORMS: list[dict[str, Any]] = [
    {"wire_bits": 4},
    {"wire_bits": 8, "scale_group": 256},
    {"wire_bits": 2, "exchange": "scatter_reduce_allgather"},
    {"wire_bits": 4, "form": "lowrank", "factor_rank": 2, "factor_bits": 8},
]


def run_hosts(hosts: int, workers: int, work: Callable[[Collectives, Hosts], Result]) -> list[Result]:
    """Call `work` on so many workers of each host, with the collectives of all and the hosts."""
    inside, between = [_Board(workers) for _ in range(hosts)], _Board(hosts)
    boards = [*inside, between]

    def run(everyone: Collectives) -> Result:
        assert isinstance(everyone, ThreadCollectives)
        for board in boards:
            board.cores = everyone._board.cores  # a worker that waits lets any other one compute
        host, place = divmod(everyone.rank, workers)
        try:
            return work(
                everyone, Hosts(ThreadCollectives(inside[host], place), ThreadCollectives(between, host))
            )
        except BaseException:
            for board in boards:
                board.fail()
            raise

    return run_workers(hosts * workers, run)


def make_model() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 50, bias=False), nn.ReLU(), nn.Linear(50, 4)
    )
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return model


def gradients(step: int, worker: int) -> list[torch.Tensor]:
    """A gradient for each parameter, by step and worker."""
    generator = torch.Generator().manual_seed(100 * step + worker)
    return [torch.randn(p.shape, generator=generator) for p in make_model().parameters()]


def make(collectives: Collectives, hosts: Hosts | None = None, **fields: Any) -> tuple[nn.Module, Any]:
    model = make_model()
    inner = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    settings = {"compile_kernels": False, "min_numel": 256, "bucket_bytes": 10_000, **fields}
    return model, DistributedOptimizer(inner, model, collectives=collectives, hosts=hosts, **settings)


def apply(model: nn.Module, optimizer: Any, given: list[torch.Tensor]) -> None:
    """Let the given gradients arrive as a backward pass would, and step."""
    optimizer.zero_grad()
    product = sum((p * g).sum() for p, g in zip(model.parameters(), given, strict=True))
    assert isinstance(product, torch.Tensor)
    product.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("fields", FORMS, ids=["4 bits", "fine", "scatter", "low rank"])
@pytest.mark.parametrize("workers", [1, 2])
def test_hosts_are_workers_with_the_mean_gradient_of_theirs(workers: int, fields: dict[str, Any]) -> None:
    def hierarchical(everyone: Collectives, hosts: Hosts) -> torch.Tensor:
        model, optimizer = make(everyone, hosts, **fields)
        for step in range(STEPS):
            apply(model, optimizer, gradients(step, everyone.rank))
        return weights(model)

    def plain(collectives: Collectives) -> torch.Tensor:
        model, optimizer = make(collectives, **fields)
        for step in range(STEPS):
            own = [gradients(step, collectives.rank * workers + place) for place in range(workers)]
            # Two summands: the same bits in any order.
            apply(model, optimizer, [sum(parts) / workers for parts in zip(*own, strict=True)])  # type: ignore[misc]
        return weights(model)

    expected = run_workers(2, plain)[0]
    found = run_hosts(2, workers, hierarchical)
    assert len(found) == 2 * workers
    assert all(torch.equal(one, expected) for one in found)


def test_levels_and_bytes_are_those_of_the_hosts() -> None:
    def work(everyone: Collectives, hosts: Hosts) -> tuple[int, int]:
        _, optimizer = make(everyone, hosts, wire_bits=4)
        exchange = next(b.exchange for b in optimizer.buckets if b.wire_bits == 4)
        return exchange._inner.codec.levels, optimizer.wire_bytes_per_step()

    def plain(collectives: Collectives) -> int:
        return int(make(collectives, wire_bits=4)[1].wire_bytes_per_step())

    sent = run_workers(2, plain)[0]
    # 4 workers alone would leave one level: floor(7 / 4).
    assert run_hosts(2, 2, work) == [(3, sent), (3, 0), (3, sent), (3, 0)]


@pytest.mark.parametrize("spoilt", range(4))
def test_a_gradient_that_is_not_finite_on_any_worker_stops_all(spoilt: int) -> None:
    def work(everyone: Collectives, hosts: Hosts) -> None:
        model, optimizer = make(everyone, hosts, wire_bits=4)
        apply(model, optimizer, gradients(0, everyone.rank))
        before = weights(model)
        given = gradients(1, everyone.rank)
        if everyone.rank == spoilt:
            given[2][3, 3] = float("inf")
        with pytest.raises(NonFiniteGradientError, match=r"2\.weight"):
            apply(model, optimizer, given)
        assert torch.equal(weights(model), before)

    run_hosts(2, 2, work)


def test_a_run_resumes_bit_for_bit() -> None:
    def work(everyone: Collectives, hosts: Hosts) -> bool:
        model, optimizer = make(everyone, hosts, wire_bits=4)
        for step in range(2):
            apply(model, optimizer, gradients(step, everyone.rank))
        resumed, other = make(everyone, hosts, wire_bits=4)
        resumed.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # torch shares momenta
        for each in ((model, optimizer), (resumed, other)):
            for step in range(2, STEPS):
                apply(*each, gradients(step, everyone.rank))
        return torch.equal(weights(model), weights(resumed))

    assert all(run_hosts(2, 2, work))


@pytest.mark.parametrize("mode", [{"update": "layerwise"}, {"averaging_interval": 2}, {"staleness": 1}])
def test_other_modes_are_refused(mode: dict[str, Any]) -> None:
    def work(everyone: Collectives, hosts: Hosts) -> None:
        with pytest.raises(
            ValueError, match="hosts need update='synchronous', averaging_interval=1 and staleness=0"
        ):
            make(everyone, hosts, wire_bits=4, **mode)

    run_hosts(1, 2, work)
