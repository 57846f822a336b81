"""scale_group: several scales a tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import GQ, GQConfig, NonFiniteGradientError
from horovod_gq.codec import BucketCodec
from horovod_gq.layout import ROW, BucketLayout
from horovod_gq.packing import num_planes
from horovod_gq.virtual import VirtualCluster

SHAPES = {"a": (30, 100), "b": (16, 64), "c": (50, 41)}
CPU = torch.device("cpu")


def cluster_of(workers: int, **fields: Any) -> tuple[VirtualCluster, dict[str, nn.Parameter]]:
    parameters = {name: nn.Parameter(torch.zeros(shape)) for name, shape in SHAPES.items()}
    return VirtualCluster(list(parameters.items()), workers, compile_kernels=False, **fields), parameters


def gradient_of(name: str, generator: torch.Generator) -> torch.Tensor:
    """Magnitudes that fall by 100 along the tensor."""
    values = torch.randn(SHAPES[name], generator=generator)
    return values * torch.logspace(0, -2, values.numel()).view(SHAPES[name])


def errors(scale_group: int | None, exchange: str = "allreduce") -> dict[str, float]:
    """Relative error of the fifth step without feedback."""
    cluster, parameters = cluster_of(
        2, wire_bits=4, scale_group=scale_group, exchange=exchange, error_feedback=False
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        true = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
        for worker in range(2):
            for name, parameter in parameters.items():
                parameter.grad = gradient_of(name, generator)
                true[name] += parameter.grad / 2
            cluster.collect(worker)
        cluster.average()
    return {n: float((p.grad - true[n]).norm() / true[n].norm()) for n, p in parameters.items()}  # type: ignore[operator]


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
def test_finer_scales_follow_the_magnitudes_within_a_tensor(exchange: str) -> None:
    whole, fine = errors(None, exchange), errors(128, exchange)
    assert all(fine[name] < 0.9 * whole[name] for name in SHAPES), (whole, fine)


def test_a_group_as_large_as_the_tensors_is_one_scale_a_tensor() -> None:
    assert errors(3072) == errors(None)


def test_every_group_is_quantized_as_a_tensor_of_its_own_would_be() -> None:
    """A tensor in groups and its pieces as tensors: equal digits, headers and next scales."""
    sizes = [256, 256, 88]
    config = GQConfig(compile_kernels=False, scale_group=256)
    whole = BucketLayout([("w", (600,))], num_planes(4, 2), scale_group=256)
    pieces = BucketLayout([(f"p{n}", (size,)) for n, size in enumerate(sizes)], num_planes(4, 2))
    assert whole.num_rows == pieces.num_rows
    codecs = [BucketCodec(x, config, 4, workers=2, rank=0, device=CPU) for x in (whole, pieces)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        values = torch.randn(600, generator=generator) * torch.logspace(0, -2, 600)
        outs = []
        for codec in codecs:
            flat = torch.zeros(codec.layout.num_rows, ROW)
            flat.view(-1)[:600].copy_(values)
            message = codec.encode(flat).clone()
            outs.append((message[: -9 if codec.num_steps == 1 else None], torch.empty_like(flat)))
            codec.decode(codec._slots[0].words * 2 if codec.num_steps > 1 else message * 2, outs[-1][1])
            assert codec.check_status() == []
        assert torch.equal(outs[0][0], outs[1][0])
        assert torch.equal(outs[0][1], outs[1][1])
        assert torch.equal(codecs[0].scale.index, codecs[1].scale.index)
    assert len(set(codecs[0].scale.index.tolist())) > 1


def test_bytes() -> None:
    # 3,000, 1,024 and 2,050 values in 24, 8 and 17 rows (one more for whole planes) at 4 bits, headers of 4 bytes.
    packed = 50 * 128 // 2
    assert cluster_of(2)[0].wire_bytes_per_step() == packed + 4 * 3
    assert cluster_of(2, scale_group=1024)[0].wire_bytes_per_step() == packed + 4 * (3 + 1 + 3)
    assert cluster_of(2, scale_group=128)[0].wire_bytes_per_step() == packed + 4 * (24 + 8 + 17)
    single = GQ(scale_group=1024).bind([(n, nn.Parameter(torch.zeros(s))) for n, s in SHAPES.items()])
    # By itself each tensor is padded to whole planes.
    assert single.wire_bytes_per_step() == packed + 4 * (3 + 1 + 3)


def step(
    cluster: VirtualCluster, parameters: dict[str, nn.Parameter], seed: int, bad: bool = False
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for worker in range(2):
        for name, parameter in parameters.items():
            parameter.grad = gradient_of(name, generator)
            if bad and worker == 1 and name == "c":
                parameter.grad[49, 3] = float("nan")
        cluster.collect(worker)
    cluster.average()
    return {name: p.grad.clone() for name, p in parameters.items()}  # type: ignore[union-attr]


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
def test_state_continues_bit_for_bit_and_bad_tensors_are_named(exchange: str) -> None:
    cluster, parameters = cluster_of(2, scale_group=256, exchange=exchange)
    other, copies = cluster_of(2, scale_group=256, exchange=exchange)
    for seed in range(4):
        step(cluster, parameters, seed)
    for mine, theirs in zip(cluster._buckets, other._buckets, strict=True):
        for bucket, copy in zip(mine, theirs, strict=True):
            state = bucket.exchange.state_dict()
            assert len(state["a"]["step_index"]) == 12
            copy.exchange.load_state(state)
    for seed in range(4, 7):
        expected, found = step(cluster, parameters, seed), step(other, copies, seed)
        assert all(torch.equal(found[name], expected[name]) for name in SHAPES)
    with pytest.raises(NonFiniteGradientError, match="gradient of c is not"):
        step(cluster, parameters, 7, bad=True)


def test_settings_are_checked() -> None:
    for value in (0, 64, 200, -128):
        with pytest.raises(ValueError, match=rf"scale_group is {value}; it must be a multiple of 128"):
            GQConfig(scale_group=value)
