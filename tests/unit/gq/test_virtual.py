"""Convergence, safety and bookkeeping on the virtual cluster: many workers in one process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import NonFiniteGradientError
from horovod_gq.virtual import VirtualCluster


def one_tensor(numel: int = 4096) -> nn.Parameter:
    return nn.Parameter(torch.zeros(numel // 64, 64))


def cluster_of(parameter: nn.Parameter, workers: int, **fields: Any) -> VirtualCluster:
    return VirtualCluster([("w", parameter)], workers, compile_kernels=False, **fields)


def exchange(cluster: VirtualCluster, parameter: nn.Parameter, gradients: list[torch.Tensor]) -> torch.Tensor:
    for worker, gradient in enumerate(gradients):
        parameter.grad = gradient
        cluster.collect(worker)
    cluster.average()
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize(
    ("workers", "fields"),
    [
        (2, {"wire_bits": 4}),
        (3, {"wire_bits": 3}),
        (16, {"wire_bits": 8}),
        (64, {"wire_bits": 16}),
        (5, {"wire_bits": 2, "exchange": "scatter_reduce_allgather"}),
        (24, {"wire_bits": 4, "exchange": "scatter_reduce_allgather"}),
    ],
)
def test_error_feedback_makes_sums_exact_in_the_long_run(workers: int, fields: dict[str, Any]) -> None:
    """What was decoded up to now plus what the residuals hold is what was to be sent: errors do not add up."""
    parameter = one_tensor()
    cluster = cluster_of(parameter, workers, **fields)
    generator = torch.Generator().manual_seed(0)
    decoded, true, error_at = torch.zeros(64, 64), torch.zeros(64, 64), {}
    for step in range(1, 25):
        gradients = [torch.randn(64, 64, generator=generator) + 0.5 for _ in range(workers)]
        true += torch.stack(gradients).mean(0)
        decoded += exchange(cluster, parameter, gradients)
        error_at[step] = float((decoded - true).norm())
    # Without feedback independent errors would have grown by sqrt(24 / 6) = 2, biased ones by 4.
    assert error_at[24] < 1.4 * error_at[6]
    assert error_at[24] < 0.12 * float(true.norm())


def test_width_3_refuses_more_workers_than_its_header_counts() -> None:
    with pytest.raises(
        ValueError, match="wire_bits=3 cannot carry the sum of 16 workers; use wire_bits 8 or 16"
    ):
        cluster_of(one_tensor(), 16, wire_bits=3)


def test_quadratic_converges_at_64_workers() -> None:
    """Workers pull to different optima; the shared minimum is their mean."""
    generator = torch.Generator().manual_seed(0)
    optima = [torch.randn(64, 64, generator=generator) for _ in range(64)]
    parameter = one_tensor()
    cluster = cluster_of(parameter, 64, wire_bits=16)
    optimizer = torch.optim.SGD([parameter], lr=0.2)
    for _ in range(30):
        exchange(cluster, parameter, [parameter.detach() - optimum for optimum in optima])
        optimizer.step()
    target = torch.stack(optima).mean(0)
    # The mean has norm 64 / 8 = 8; a start at zero is that far away.
    assert float((parameter.detach() - target).norm()) < 0.1 * float(target.norm())


@pytest.mark.parametrize("exchange_kind", ["allreduce", "scatter_reduce_allgather"])
def test_zero_denormal_and_huge_gradients(exchange_kind: str) -> None:
    for magnitude in (0.0, 1e-42, 1e-30, 1e12, 1e18):
        parameter = one_tensor()
        cluster = cluster_of(parameter, 2, wire_bits=8, exchange=exchange_kind)
        gradient = torch.full((64, 64), magnitude)
        decoded = torch.zeros(64, 64)
        for _ in range(8):
            decoded += exchange(cluster, parameter, [gradient, gradient])
        assert torch.isfinite(decoded).all()
        # 2^-60 is the smallest step: what is below stays in the residual.
        if magnitude == 0.0 or magnitude >= 1e12:
            assert torch.allclose(decoded, 8 * gradient, rtol=0.1), magnitude
        else:
            assert (decoded <= 8 * magnitude + 2.0**-60).all()


def test_scale_follows_a_gradient_that_grows_and_shrinks() -> None:
    parameter = one_tensor()
    cluster = cluster_of(parameter, 2, wire_bits=8)
    generator = torch.Generator().manual_seed(0)
    for magnitude in (1.0, 1e4, 1e-3):
        decoded, true = torch.zeros(64, 64), torch.zeros(64, 64)
        for step in range(40):
            gradients = [magnitude * torch.randn(64, 64, generator=generator) for _ in range(2)]
            average = exchange(cluster, parameter, gradients)
            if step >= 30:
                decoded += average
                true += torch.stack(gradients).mean(0)
        assert float((decoded - true).norm()) < 0.1 * float(true.norm()), magnitude


def test_a_gradient_that_wakes_up_is_followed() -> None:
    """All zero in the calibrating step and long after, then ordinary."""
    parameter = one_tensor()
    cluster = cluster_of(parameter, 2, wire_bits=8)
    for _ in range(20):
        assert not exchange(cluster, parameter, [torch.zeros(64, 64)] * 2).any()
    decoded, gradient = torch.zeros(64, 64), 100 * torch.ones(64, 64)
    for _ in range(20):
        decoded += exchange(cluster, parameter, [gradient, gradient])
    assert torch.allclose(decoded, 20 * gradient, rtol=0.05)


@pytest.mark.parametrize("exchange_kind", ["allreduce", "scatter_reduce_allgather"])
def test_nonfinite_gradient_is_named_or_propagated(exchange_kind: str) -> None:
    for nonfinite in ("raise", "propagate"):
        parameter = one_tensor()
        cluster = cluster_of(parameter, 3, wire_bits=8, exchange=exchange_kind, nonfinite=nonfinite)
        good, bad = torch.ones(64, 64), torch.ones(64, 64)
        bad[3, 5] = float("nan")
        exchange(cluster, parameter, [good] * 3)
        exchange(cluster, parameter, [good] * 3)
        if nonfinite == "raise":
            with pytest.raises(NonFiniteGradientError, match="w is not finite"):
                exchange(cluster, parameter, [good, bad, good])
        else:
            assert exchange(cluster, parameter, [good, bad, good]).isnan().all()
            for _ in range(3):
                # At most half a step: 8 bits and 3 workers have L = 42, a step is at most 1.5 * 8 rms / L.
                average = exchange(cluster, parameter, [good] * 3)
                assert torch.allclose(average, good, rtol=0, atol=0.5 * 1.5 * 8 / 42)


def test_bytes_do_not_depend_on_the_workers_with_scatter() -> None:
    sent = []
    for workers in (2, 4, 16, 64):
        cluster = cluster_of(one_tensor(2**18), workers, wire_bits=4, exchange="scatter_reduce_allgather")
        sent.append(cluster.wire_bytes_per_step())
    packed = 2**18 // 2
    for workers, total in zip((2, 4, 16, 64), sent, strict=True):
        # Packed once for the all-to-all and a share for the all-gather; a code of 4 bytes a chunk.
        assert total == packed + packed // workers + 4 * workers + 4


def test_all_workers_must_be_collected() -> None:
    parameter = one_tensor()
    cluster = cluster_of(parameter, 3, wire_bits=8)
    parameter.grad = torch.ones(64, 64)
    cluster.collect(1)
    with pytest.raises(ValueError, match=r"workers \[0, 2\]"):
        cluster.average()
