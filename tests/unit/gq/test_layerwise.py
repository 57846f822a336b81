"""Layer-by-layer updates where a module uses what lies below it without calling that."""

import copy
from typing import Any

import torch
from torch import nn

from horovod_gq import DistributedOptimizer
from horovod_gq.updates import LayerwiseUpdate, used_parameters
from pipelines.parallel.virtual_cluster import run_workers


class Attention(nn.Module):
    """Its `out_proj` is used by the attention, which never calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        found, _ = self.attention(sequences, sequences, sequences)
        return torch.as_tensor(self.head(found.mean(dim=1)))


def trained(collectives: Any, update: str, start: Attention) -> list[torch.Tensor]:
    model = copy.deepcopy(start)
    optimizer = DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9),
        model,
        update=update,
        bucket_bytes=1024,
        collectives=collectives,
        wire_bits=8,
        min_numel=16,
        compile_kernels=False,
    )
    assert sum("out_proj" in name for bucket in optimizer.buckets for name in bucket.names) == 2
    assert all(len(bucket.names) == 1 for bucket in optimizer.buckets if "out_proj.weight" in bucket.names[0])
    generator = torch.Generator().manual_seed(collectives.rank)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(8, 5, 16, generator=generator)).square().mean().backward()
        optimizer.step()
    optimizer.flush()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_what_a_module_uses_without_calling_it_is_updated_before() -> None:
    start = Attention()  # before there are threads, which share torch's generator
    synchronous = run_workers(2, lambda collectives: trained(collectives, "synchronous", start))[0]
    layerwise = run_workers(2, lambda collectives: trained(collectives, "layerwise", start))[0]
    for found, expected in zip(layerwise, synchronous, strict=True):
        assert torch.equal(found, expected)


def test_a_module_without_parameters_of_its_own_uses_none_itself() -> None:
    model = Attention()
    assert used_parameters(model) == []
    assert len(used_parameters(model.attention)) == 4
    assert used_parameters(model.head) == [model.head.weight, model.head.bias]


def test_without_its_hooks_the_model_runs_alone() -> None:
    def hooks(collectives: Any) -> tuple[int, int]:
        model = Attention()
        optimizer = DistributedOptimizer(
            torch.optim.SGD(model.parameters(), lr=0.5), model, update="layerwise", collectives=collectives
        )
        update = optimizer._update
        assert isinstance(update, LayerwiseUpdate)

        def count() -> int:
            return sum(
                len(module._forward_pre_hooks) + len(module._state_dict_pre_hooks)
                for module in model.modules()
            )

        before = count()
        update.remove_hooks()
        return before, count()

    assert run_workers(2, hooks) == [(4, 0)] * 2
