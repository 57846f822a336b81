"""Properties of the codec: exact sums, exact error feedback, unbiased rounding, bounded error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters

from horovod_gq import quantizer
from horovod_gq.codec import BucketCodec
from horovod_gq.config import WIRE_WIDTHS, GQConfig, num_levels
from horovod_gq.kernels import kernel_set
from horovod_gq.layout import ROW, BucketLayout
from horovod_gq.packing import digit_dtype, load_fields, num_planes, num_words, packable
from horovod_gq.scale import header_words
from tests.unit.gq import reference

CPU = torch.device("cpu")
FP32_EPS = 2.0**-23


def max_workers(wire_bits: int) -> int:
    return 15 if wire_bits == 3 else int(2 ** (wire_bits - 1) - 1)


def make_codec(
    shapes: list[tuple[int, ...]], wire_bits: int, workers: int = 1, rank: int = 0, **fields: object
) -> BucketCodec:
    named = [(f"t{i}", shape) for i, shape in enumerate(shapes)]
    layout = BucketLayout(named, num_planes(wire_bits, workers))
    config = GQConfig(wire_bits=wire_bits, **{"compile_kernels": False, **fields})  # type: ignore[arg-type]
    return BucketCodec(layout, config, wire_bits, workers=workers, rank=rank, device=CPU)


def flat_of(codec: BucketCodec, tensors: list[torch.Tensor]) -> torch.Tensor:
    flat = torch.zeros(codec.layout.num_rows, ROW)
    for slot, tensor in zip(codec.layout.slots, tensors, strict=True):
        codec.layout.view(flat, slot).copy_(tensor)
    return flat


def digits_sent(codec: BucketCodec, message: torch.Tensor) -> torch.Tensor:
    """int64 [rows, 128]: the digits of a message in the order of the bucket."""
    words = message[len(codec.layout.slots) * header_words(codec.wire_bits) :].numpy().astype(np.int64)
    return torch.from_numpy(reference.unpack(words, codec.wire_bits, codec.workers)).view(-1, ROW)


@st.composite
def widths_and_workers(draw: st.DrawFn) -> tuple[int, int]:
    wire_bits = draw(st.sampled_from(WIRE_WIDTHS))
    return wire_bits, draw(st.integers(1, min(max_workers(wire_bits), 40)))


@settings(max_examples=60, deadline=None)
@given(widths_and_workers(), st.integers(1, 3), st.integers(0, 2**31), st.booleans())
def test_packed_sum_is_the_sum_of_the_digits(
    case: tuple[int, int], num_rows: int, seed: int, extreme: bool
) -> None:
    wire_bits, workers = case
    levels = num_levels(wire_bits, workers)
    kernels = kernel_set(wire_bits, "nearest", False, "cpu", workers=workers)
    planes = num_planes(wire_bits, workers)
    rng = np.random.default_rng(seed)
    shape = (workers, num_rows * planes * ROW)
    drawn = rng.integers(-levels, levels + 1, shape)
    digits = np.where(drawn >= 0, levels, -levels) if extreme else drawn
    total = torch.zeros(num_words(shape[1], wire_bits, workers), dtype=torch.int32)
    for worker in range(workers):
        mine = torch.from_numpy(digits[worker]).to(digit_dtype(wire_bits))
        words = torch.empty_like(total)
        kernels.pack(packable(mine, wire_bits, workers), words)
        np.testing.assert_array_equal(words.numpy(), reference.pack(digits[worker], wire_bits, workers))
        total += words
    unpacked = reference.unpack(total.numpy().astype(np.int64), wire_bits, workers)
    np.testing.assert_array_equal(unpacked, digits.sum(0))
    out = torch.empty(planes, num_rows, ROW)
    load_fields(total, out[-1], wire_bits)
    kernels.unpack(*out.unbind(), *torch.ones(planes, num_rows).unbind())
    np.testing.assert_array_equal(out.view(-1).numpy().astype(np.int64), digits.sum(0))


@settings(max_examples=60, deadline=None)
@given(
    widths_and_workers(),
    st.integers(1, 700),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 1e-42, 1e-20, 1.0, 3e5]),
    st.sampled_from(["nearest", "stochastic"]),
    st.sampled_from([2.0, math.inf]),
)
def test_nothing_within_the_bound_is_lost_between_digits_and_residual(
    case: tuple[int, int], numel: int, seed: int, magnitude: float, rounding: str, residual_limit: float
) -> None:
    """r' is exactly g + r - dequantized (values on a grid of 2^-10 of the magnitude), up to its limit."""
    wire_bits, workers = case
    codec = make_codec([(numel,)], wire_bits, workers, rounding=rounding, residual_limit=residual_limit)
    generator = torch.Generator().manual_seed(seed)
    step_scale = 2.0 ** math.floor(math.log2(magnitude)) if magnitude > 1e-38 else magnitude
    draw = lambda: torch.randint(-1024, 1025, (numel,), generator=generator).float() / 1024 * step_scale  # noqa: E731
    codec.encode(flat_of(codec, [draw()]))
    codec.decode(codec._slots[0].fp32 * workers, torch.empty(codec.layout.num_rows, ROW))  # type: ignore[operator]
    for _ in range(3):
        gradient, before = flat_of(codec, [draw()]), codec.residual.clone()
        digits = digits_sent(codec, codec.encode(gradient))
        sent = digits * codec._slots[0].row_steps.double()[:, None]
        bound = residual_limit * codec.levels * codec._slots[0].row_steps.double()[:, None]
        lost = gradient.double() + before.double() - sent
        assert torch.equal(torch.clamp(lost, -bound, bound), codec.residual.double())
        assert digits.abs().max() <= codec.levels


@settings(max_examples=40, deadline=None)
@given(
    widths_and_workers(),
    st.integers(1, 600),
    st.integers(0, 2**31),
    st.floats(-30, 30),
    st.sampled_from([0.5, math.inf]),
)
def test_encode_equals_the_numpy_reference(
    case: tuple[int, int], numel: int, seed: int, log_magnitude: float, residual_limit: float
) -> None:
    wire_bits, workers = case
    codec = make_codec([(numel,)], wire_bits, workers, residual_limit=residual_limit)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(numel, generator=generator) * 2.0**log_magnitude  # noqa: E731
    calibration = codec.encode(flat_of(codec, [draw()]))
    codec.decode(calibration * workers, torch.empty(codec.layout.num_rows, ROW))
    gradient, before = flat_of(codec, [draw()]), codec.residual.clone()
    message = codec.encode(gradient).clone()
    step = float(codec._slots[0].row_steps[0])
    digits, residual = reference.quantize(
        gradient.numpy(), before.numpy(), step, codec.levels, residual_limit
    )
    words = message[codec._header_size :].numpy()
    np.testing.assert_array_equal(words, reference.pack(digits.reshape(-1), wire_bits, workers))
    np.testing.assert_array_equal(codec.residual.numpy(), residual)


@settings(max_examples=40, deadline=None)
@given(widths_and_workers(), st.integers(2, 5), st.integers(0, 2**31))
def test_average_error_is_bounded_by_half_a_step(case: tuple[int, int], num_steps: int, seed: int) -> None:
    """Without clipping, |decoded - average| <= step / 2 per rank, hence in the mean; plus fp32 rounding."""
    wire_bits, workers = case
    workers = min(workers, 8)
    codecs = [make_codec([(20, 33)], wire_bits, workers, rank, clip_factor=8.0) for rank in range(workers)]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        # Uniform values never exceed sqrt(3) rms, so a factor of 8 leaves room for the residual: no clipping.
        gradients = [torch.rand(20, 33, generator=generator) * 2 - 1 for _ in range(workers)]
        totals = [flat_of(c, [g]) + c.residual for c, g in zip(codecs, gradients, strict=True)]
        messages = [c.encode(flat_of(c, [g])) for c, g in zip(codecs, gradients, strict=True)]
        step = float(codecs[0]._slots[0].row_steps[0])
        summed = torch.stack(messages).sum(0).to(messages[0].dtype)
        out = torch.empty(codecs[0].layout.num_rows, ROW)
        for codec in codecs:
            codec.decode(summed.clone(), out)
            assert codec.check_status() == []
    clipped = any((total.abs() > (codecs[0].levels + 0.5) * step).any() for total in totals)
    assert not clipped
    error = (out.double() - torch.stack(totals).double().mean(0)).abs().max()
    assert error <= step / 2 + 4 * FP32_EPS * step * codecs[0].levels


@pytest.mark.parametrize("wire_bits", WIRE_WIDTHS)
def test_stochastic_rounding_is_unbiased(wire_bits: int) -> None:
    codec = make_codec([(256,)], wire_bits, rounding="stochastic", error_feedback=False)
    gradient = flat_of(codec, [torch.linspace(-1, 1, 256)])
    calibration = codec.encode(gradient)
    codec.decode(calibration, torch.empty_like(gradient))
    index = codec.scale.index.clone()
    draws, mean = 4000, torch.zeros_like(gradient, dtype=torch.float64)
    for _ in range(draws):
        digits = digits_sent(codec, codec.encode(gradient))
        mean += digits * codec._slots[0].row_steps.double()[:, None] / draws
        codec.scale.index.copy_(index)
    step = float(codec._slots[0].row_steps[0])
    unclipped = gradient.abs() < codec.levels * step
    # A Bernoulli variable has variance at most step^2 / 4; 6 standard errors over 256 values.
    assert ((mean - gradient).abs()[unclipped] <= 6 * step / 2 / math.sqrt(draws)).all()
    # And over all values together the deviations must cancel as independent draws do.
    total = float((mean - gradient)[unclipped].sum())
    assert abs(total) <= 6 * step / 2 / math.sqrt(draws) * math.sqrt(float(unclipped.sum()))


@pytest.mark.parametrize("wire_bits", WIRE_WIDTHS)
def test_compiled_kernels_equal_eager_ones(wire_bits: int) -> None:
    for rounding in ("nearest", "stochastic"):
        codecs = [
            make_codec([(50, 37), (3, 500)], wire_bits, rounding=rounding, compile_kernels=compiled)
            for compiled in (False, True)
        ]
        assert [codec._kernels.compiled for codec in codecs] == [False, True]
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            tensors = [
                torch.randn(50, 37, generator=generator),
                1e-3 * torch.randn(3, 500, generator=generator),
            ]
            messages = [codec.encode(flat_of(codec, tensors)).clone() for codec in codecs]
            assert torch.equal(*messages)
            outs = [torch.empty(c.layout.num_rows, ROW) for c in codecs]
            for codec, message, out in zip(codecs, messages, outs, strict=True):
                codec.decode(message, out)
            assert torch.equal(*outs)
            assert torch.equal(codecs[0].residual, codecs[1].residual)
            assert torch.equal(codecs[0].scale.index, codecs[1].scale.index)


@pytest.mark.parametrize("wire_bits", WIRE_WIDTHS)
def test_unpacking_in_blocks_changes_nothing(wire_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = []
    for block_values in (quantizer.BLOCK_VALUES, 3 * num_planes(wire_bits, 1) * ROW, 1):
        monkeypatch.setattr(quantizer, "BLOCK_VALUES", block_values)
        codec = make_codec([(50, 370), (3, 500)], wire_bits)
        generator = torch.Generator().manual_seed(0)
        out = torch.empty(codec.layout.num_rows, ROW)
        for _ in range(20):
            tensors = [
                torch.randn(50, 370, generator=generator),
                1e-3 * torch.randn(3, 500, generator=generator),
            ]
            codec.decode(codec.encode(flat_of(codec, tensors)).clone(), out)
        assert not codec.in_warmup
        outs.append(out)
    assert torch.count_nonzero(outs[0]) > 0
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


def test_a_kernel_is_compiled_once_for_any_number_of_rows() -> None:
    kernel = kernel_set(4, "nearest", True, "cpu").unpack
    counted = counters["stats"]["unique_graphs"]
    for rows in (2, 3, 64, 1000):
        low, high = torch.empty(rows, ROW), torch.full((rows, ROW), float(0x1F))
        kernel(low, high, torch.ones(rows), torch.full((rows,), 2.0))
        assert torch.equal(low, torch.full_like(low, 15 - 8))
        assert torch.equal(high, torch.full_like(high, 2.0 * (1 - 8)))
    assert counters["stats"]["unique_graphs"] == counted
