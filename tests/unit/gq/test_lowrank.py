"""form="lowrank": against a slow PowerSGD, the same bits on unlike processors, choice by bytes, bad gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from horovod_gq import GQConfig, NonFiniteGradientError, factors, lowrank
from horovod_gq.buckets import Form, form_of
from horovod_gq.codec import BucketCodec
from horovod_gq.factors import FactorSpace, product_bits
from horovod_gq.layout import NARROW_ROW, BucketLayout
from horovod_gq.lowrank import LowRankExchange
from horovod_gq.packing import num_planes
from horovod_gq.virtual import VirtualCluster
from tests.references.processor import OtherProcessor, on_another_processor

SHAPES = {"conv.weight": (24, 8, 3, 3), "fc.weight": (40, 90), "flat.weight": (6, 400)}
CPU = torch.device("cpu")


def cluster_of(workers: int, **fields: Any) -> tuple[VirtualCluster, dict[str, nn.Parameter]]:
    parameters = {name: nn.Parameter(torch.zeros(shape)) for name, shape in SHAPES.items()}
    fields = {"form": "lowrank", "factor_rank": 2, "wire_bits": 16, "compile_kernels": False, **fields}
    return VirtualCluster(list(parameters.items()), workers, **fields), parameters


def gradients_of(step: int, worker: int) -> dict[str, torch.Tensor]:
    """A shared part of low rank that drifts, and noise of full rank."""
    generator = torch.Generator().manual_seed(1000 * step + worker)
    shared = torch.Generator().manual_seed(7)
    found = {}
    for name, shape in SHAPES.items():
        rows, columns = shape[0], int(np.prod(shape[1:]))
        left = torch.randn(rows, 3, generator=shared) + 0.1 * step
        low = left @ torch.randn(3, columns, generator=shared)
        found[name] = (low + torch.randn(rows, columns, generator=generator)).view(shape)
    return found


def run(
    cluster: VirtualCluster, parameters: dict[str, nn.Parameter], steps: range
) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    for step in steps:
        for worker in range(cluster.workers):
            for name, gradient in gradients_of(step, worker).items():
                parameters[name].grad = gradient
            cluster.collect(worker)
        cluster.average()
        yield step, {name: parameter.grad.clone() for name, parameter in parameters.items()}  # type: ignore[union-attr]


def exchanges(cluster: VirtualCluster) -> list[LowRankExchange]:
    """The one exchange of each worker."""
    found = [bucket.exchange for buckets in cluster._buckets for bucket in buckets]
    assert len(found) == cluster.workers
    assert all(isinstance(exchange, LowRankExchange) for exchange in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_equals_a_slow_powersgd(rank: int, exchange: str) -> None:
    workers = 3
    cluster, parameters = cluster_of(workers, factor_rank=rank, factor_bits=16, exchange=exchange)
    first = exchanges(cluster)[0]
    starts = zip(first._matrices, first._q.parts(first._fresh), strict=True)
    q = {matrix.name: start.numpy().T.copy() for matrix, start in starts}
    residual = {
        (n, w): np.zeros((s[0], int(np.prod(s[1:])))) for n, s in SHAPES.items() for w in range(workers)
    }
    for step, averaged in run(cluster, parameters, range(6)):
        gradients = [gradients_of(step, worker) for worker in range(workers)]
        for name in SHAPES:
            total = [
                residual[name, w] + gradients[w][name].double().numpy().reshape(residual[name, w].shape)
                for w in range(workers)
            ]
            p, _ = np.linalg.qr(np.mean([m @ q[name] for m in total], axis=0))
            q[name] = np.mean([m.T @ p for m in total], axis=0)
            expected = p @ q[name].T
            for worker in range(workers):
                residual[name, worker] = total[worker] - expected
            found = averaged[name].double().numpy().reshape(expected.shape)
            # 16 bits and 3 workers: steps of at most 1.5 * 20 / 10922 rms, errors of that / sqrt(12) = 0.08 % in each
            # factor. P and Q are then rounded to 11 bits of their largest value, at most 2^-12 of it: with a
            # largest value of up to 6 rms 0.15 %. The errors of six steps add up through the residual.
            assert np.linalg.norm(found - expected) < 6 * 2.5e-3 * np.linalg.norm(expected), (name, step)


def replicas_agree(**fields: Any) -> bool:
    cluster, parameters = cluster_of(3, **fields)
    on_another_processor(exchanges(cluster)[-1])
    for _, _ in run(cluster, parameters, range(8)):
        first, *others = (exchange.flat for exchange in exchanges(cluster))
        if not all(torch.equal(first, other) for other in others):
            return False
    starts = [exchange._q.values for exchange in exchanges(cluster)]
    # The next Q need not have the same bits: computed in fp64 and rounded to fp32, of values up to 1.
    return all(torch.allclose(starts[0], start, rtol=0.0, atol=2.0**-23) for start in starts)


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
@pytest.mark.parametrize("rank", [1, 2, 7])
def test_replicas_on_unlike_processors_stay_bit_identical(rank: int, exchange: str) -> None:
    assert replicas_agree(factor_rank=rank, exchange=exchange)


def test_without_exact_products_they_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowrank, "product_bits", lambda rank: (20, 20))
    assert not replicas_agree(factor_rank=2)


@pytest.mark.parametrize("gram_bits", [15, 40])
def test_orthonormalize_does_not_depend_on_the_order_of_sums(
    gram_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products of 80 bits are beyond fp64, so there the order shows: the test can fail."""
    monkeypatch.setattr(factors, "GRAM_BITS", gram_bits)
    space = FactorSpace([300, 41], [4, 4], CPU)
    columns = torch.randn(4, 341, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with OtherProcessor():
        elsewhere = space.orthonormalize(columns)
    assert torch.equal(space.orthonormalize(columns), elsewhere) == (gram_bits == 15)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5, 16, 64])
def test_products_of_so_many_bits_are_exact(rank: int) -> None:
    p_bits, q_bits = product_bits(rank)
    assert rank * 2**p_bits * 2**q_bits <= 2**24
    assert min(p_bits, q_bits) >= 9


@pytest.mark.parametrize("exact", [True, False])
def test_orthonormalize_spans_the_same_space(exact: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths, ranks = [12, 300, 3], [4, 2, 3]
    space = FactorSpace(lengths, ranks, CPU)
    columns = torch.randn(4, sum(lengths), generator=generator, dtype=torch.float64) * space.present
    columns[1, :12] = 0.5 * columns[0, :12]  # dependent
    columns[0, 12:312] *= 1e-9
    columns[1, 312:] = 0.0
    result = space.orthonormalize(columns) if exact else space.orthonormalize_nearly(columns)[0]
    for before, after, rank in zip(
        columns.split(lengths, 1), result.split(lengths, 1), (3, 2, 2), strict=True
    ):
        gram = after @ after.T
        independent = after.any(1)
        assert int(independent.sum()) == rank
        # Coordinates are computed in fp64 from columns of 15 bits.
        assert torch.allclose(gram, torch.diag(independent.double()), atol=1e-9)
        outside = before - before @ after.T @ after
        # Rounding a column to 15 bits moves it by at most 2^-16 of its largest value, every entry.
        assert (outside.norm(dim=1) <= 2.0**-14 * before.norm(dim=1) * before.shape[1] ** 0.5).all()


@pytest.mark.parametrize(
    ("factor_bits", "workers", "exchange"),
    [
        (8, 2, "allreduce"),
        (4, 2, "allreduce"),
        (8, 7, "allreduce"),
        (4, 3, "scatter_reduce_allgather"),
        (8, 5, "scatter_reduce_allgather"),
    ],
)
def test_what_was_decoded_and_the_residuals_are_what_was_to_be_sent(
    factor_bits: int, workers: int, exchange: str
) -> None:
    cluster, parameters = cluster_of(workers, factor_bits=factor_bits, exchange=exchange)
    total = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    true = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    gradients = [gradients_of(0, worker) for worker in range(workers)]
    mean = {name: torch.stack([each[name] for each in gradients]).mean(0) for name in SHAPES}
    error = []
    for _ in range(40):
        for name in SHAPES:
            true[name] += mean[name]
        for worker in range(workers):
            for name, gradient in gradients[worker].items():
                parameters[name].grad = gradient
            cluster.collect(worker)
        cluster.average()
        for number, name in enumerate(reversed(SHAPES)):
            total[name] += parameters[name].grad  # type: ignore[operator]
            parts = [exchange._split(exchange._inputs[0])[number] for exchange in exchanges(cluster)]
            kept = torch.stack(parts).mean(0).view(SHAPES[name])
            # fp32 sums of up to 40 terms.
            assert float((total[name] + kept - true[name]).norm()) < 40 * 2.0**-23 * float(true[name].norm())
        error.append(max(float((total[n] - true[n]).norm() / true[n].norm()) for n in SHAPES))
    # Gradients that stay: what rank 2 cannot say in one step comes later.
    assert error[39] < 0.25 < error[0], error


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
def test_differences_between_the_workers_do_not_add_up(exchange: str) -> None:
    """Rank 5 of 6 leaves little of the mean unsaid, and of each rank's own residual as little."""
    cluster, parameters = cluster_of(3, factor_rank=5, exchange=exchange)
    number = list(reversed(SHAPES)).index("flat.weight")
    ratios = []
    for _ in run(cluster, parameters, range(32)):
        parts = [exchange._split(exchange._inputs[0])[number] for exchange in exchanges(cluster)]
        ratios.append(float(parts[0].norm() / torch.stack(parts).mean(0).norm()))
    # Independent noise of three workers: the root of three. PowerSGD's own residuals go on to 15.
    assert max(ratios[8:]) < 3.0, ratios


def test_chosen_by_bytes() -> None:
    config = GQConfig(
        form="lowrank", factor_rank=2, wire_bits=4, overrides=(("head*", 4), ("stem*", 32)), min_numel=100
    )
    lowrank_form = Form(8, lowrank=True)
    assert form_of("a", (64, 300), config) == lowrank_form
    assert form_of("a", (64, 20, 3, 5), config) == lowrank_form
    assert form_of("head.weight", (64, 300), config) == Form(4)
    assert form_of("stem.weight", (64, 300), config) == Form(32)
    assert form_of("a", (300,), config) == Form(32)
    assert form_of("a", (9, 11), config) == Form(32)
    # 16 x 20: 160 bytes through GQ, and 2 (16 + 32) + 4 headers of 8 bytes as columns padded to 16.
    assert form_of("a", (16, 20), config) == lowrank_form
    # 8 x 20: 128 bytes and a header of 4 (padded to two rows of 128), against 2 (16 + 32) + 32 = 128: 4 less.
    assert form_of("a", (8, 20), config) == lowrank_form
    # 4 x 33: the same 132 bytes, against 2 (16 + 48) + 32.
    assert form_of("a", (4, 33), config) == Form(4)
    assert form_of("a", (16, 20), GQConfig(form="lowrank", factor_rank=2, wire_bits=2)) != lowrank_form
    assert form_of("a", (64, 300), GQConfig(wire_bits=4)) == Form(4)


@pytest.mark.parametrize("exchange", ["allreduce", "scatter_reduce_allgather"])
def test_bytes_are_those_of_the_messages(exchange: str) -> None:
    cluster, parameters = cluster_of(3, exchange=exchange)
    link: Any = exchanges(cluster)[0]._p.exchange._collectives
    list(run(cluster, parameters, range(2)))
    sent: list[int] = []
    for method in ("start_sum", "start_all_to_all", "start_all_gather"):
        original = getattr(link, method)

        def counted(tensor: torch.Tensor, name: str, original: Any = original) -> Any:
            sent.append(tensor.numel() * tensor.element_size())
            return original(tensor, name)

        setattr(link, method, counted)
    list(run(cluster, parameters, range(2, 3)))
    assert sum(sent) == cluster.wire_bytes_per_step()
    assert len(sent) == exchanges(cluster)[0].collectives_per_step == (2 if exchange == "allreduce" else 4)
    # P and Q of rank 2 at 8 bits: columns padded to 16, 8 bytes of header each; nothing else.
    if exchange == "allreduce":
        columns = sum(-(-s[0] // 16) * 16 + -(-int(np.prod(s[1:])) // 16) * 16 for s in SHAPES.values())
        assert sum(sent) == 2 * columns + 2 * 2 * len(SHAPES) * 8


@pytest.mark.parametrize("nonfinite", ["raise", "propagate"])
def test_nonfinite_gradient_is_named_and_forgotten(nonfinite: str) -> None:
    cluster, parameters = cluster_of(3, nonfinite=nonfinite)
    list(run(cluster, parameters, range(3)))
    for worker in range(3):
        for name, gradient in gradients_of(3, worker).items():
            parameters[name].grad = gradient
            if worker == 1 and name == "fc.weight":
                gradient[2, 3] = float("inf")
        cluster.collect(worker)
    if nonfinite == "raise":
        with pytest.raises(NonFiniteGradientError, match=r"fc\.weight is not"):
            cluster.average()
    else:
        cluster.average()
        assert parameters["fc.weight"].grad.isnan().all()  # type: ignore[union-attr]
    assert torch.isfinite(parameters["conv.weight"].grad).all()  # type: ignore[arg-type]
    for _, averaged in run(cluster, parameters, range(4, 8)):
        assert all(torch.isfinite(gradient).all() for gradient in averaged.values())
        firsts = [exchange.flat for exchange in exchanges(cluster)]
        assert all(torch.equal(firsts[0], other) for other in firsts)


def test_zero_gradients_and_gradients_of_lower_rank() -> None:
    """A column that became zero must come back when the gradient has rank 2 again."""
    cluster, parameters = cluster_of(2, factor_bits=16)
    generator = torch.Generator().manual_seed(0)
    one, two = (
        torch.randn(40, 1, generator=generator) @ torch.randn(1, 90, generator=generator) for _ in range(2)
    )
    for gradient, steps in ((0.0 * one, 3), (one, 6), (one + two, 8)):
        for _ in range(steps):
            for worker in range(2):
                parameters["fc.weight"].grad = gradient
                cluster.collect(worker)
            cluster.average()
        decoded = parameters["fc.weight"].grad
        assert decoded is not None
        assert torch.isfinite(decoded).all()
        # The residual of earlier steps is still being delivered; 16 bits leave less than a hundredth.
        assert float((decoded - gradient).norm()) <= 0.05 * float(gradient.norm()), steps


def test_settings_are_checked() -> None:
    for fields, message in (
        ({"form": "high"}, "form is 'high'; allowed are 'full', 'lowrank'"),
        ({"factor_rank": 0}, "factor_rank is 0; it must lie between 1 and 64"),
        ({"factor_rank": 65}, "factor_rank is 65"),
        ({"factor_bits": 5}, "factor_bits is 5; allowed are 2, 4, 8, 16"),
    ):
        with pytest.raises(ValueError, match=message):
            GQConfig(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"factor_bits=4 cannot carry .* use factor_bits 8 or 16"):
        cluster_of(8, factor_bits=4, wire_bits=8)


@pytest.mark.parametrize("wire_bits", [8, 16])
def test_compiled_kernels_equal_eager_ones_on_narrow_rows(wire_bits: int) -> None:
    layout = BucketLayout([("a", (50,)), ("b", (7,)), ("c", (300,))], num_planes(wire_bits, 2), NARROW_ROW)
    assert layout.num_values == 16 * (4 + 1 + 19)
    codecs = [
        BucketCodec(layout, GQConfig(compile_kernels=c), wire_bits, workers=2, rank=0, device=CPU)
        for c in (False, True)
    ]
    assert [codec.kernels_compiled for codec in codecs] == [False, True]
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        flat = torch.zeros(layout.num_rows, NARROW_ROW)
        for slot in layout.slots:
            layout.view(flat, slot).copy_(torch.randn(slot.shape, generator=generator))
        messages = [codec.encode(flat).clone() for codec in codecs]
        assert torch.equal(*messages)
        outs = [torch.empty_like(flat) for _ in codecs]
        for codec, out in zip(codecs, outs, strict=True):
            codec.decode(messages[0] * 2, out)
        assert torch.equal(*outs)
