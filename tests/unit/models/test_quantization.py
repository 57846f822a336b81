"""Codes, levels and gradients against brute force, numpy and the papers' formulas; exported networks."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.inference.quantized import load_quantized, packed_planes_bytes, save_quantized
from pipelines.models import build_from_spec, spec_of
from pipelines.models.quantization import (
    METHODS,
    BasisActivations,
    BasisWeights,
    DirectWeights,
    LsqActivations,
    LsqWeights,
    quantize,
    quantized_layers,
)
from pipelines.models.quantization.basis import all_codes, decode, greedy_basis, nearest_codes, refit

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(5, 60, generator=GENERATOR)
BITS = [1, 2, 3, 4]
IMAGES = torch.randn(8, 1, 8, 8, generator=GENERATOR)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_nearest_codes_by_brute_force(bits, signed):
    basis = torch.rand(5, bits, generator=GENERATOR) + 0.1
    numbers = nearest_codes(ROWS, basis, signed=signed)
    codes = all_codes(bits, signed=signed)
    levels = [sum(v * d for v, d in zip(row, code, strict=True)) for row in basis for code in codes]
    distances = (ROWS[:, :, None] - torch.stack(levels).view(5, 1, -1)).abs()
    chosen = (ROWS - decode(numbers, basis, signed=signed)).abs()
    # float32 levels of at most four terms below 5
    torch.testing.assert_close(chosen, distances.min(2).values, rtol=0, atol=2e-6)
    assert {tuple(code) for code in codes.int().tolist()} == set(
        itertools.product((-1, 1) if signed else (0, 1), repeat=bits)
    )


@pytest.mark.parametrize("bits", BITS)
def test_a_refit_is_numpys_least_squares_and_never_worse(bits):
    basis, errors = greedy_basis(ROWS, bits), []
    for _ in range(5):
        numbers = nearest_codes(ROWS, basis, signed=True)
        errors.append(float((ROWS - decode(numbers, basis, signed=True)).square().sum()))
        new = refit(ROWS, basis, signed=True)
        for row in range(5):
            codes = all_codes(bits, signed=True)[numbers[row]].double().numpy()
            expected = np.linalg.lstsq(codes, ROWS[row].double().numpy(), rcond=None)[0]
            # The ridge of 1e-6 moves the solution by about that part of it, more where codes are nearly dependent.
            np.testing.assert_allclose(new[row].numpy(), expected, rtol=1e-3, atol=1e-4)
        basis = new
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(errors))


@pytest.mark.parametrize("bits", BITS)
def test_direct_weights_start_at_the_fit_and_have_the_gradients_of_their_formula(bits):
    weight = torch.randn(4, 3, 3, 3, generator=GENERATOR)
    source, fitted = DirectWeights(weight, bits), BasisWeights(weight, bits).eval()
    torch.testing.assert_close(source(), fitted(), rtol=1e-4, atol=1e-5)
    source.codes.data[0, 0, 0] = 1.5  # beyond the reach of the straight-through gradient
    upstream = torch.randn(4, 3, 3, 3, generator=GENERATOR)
    (source() * upstream).sum().backward()
    source.requires_grad_(False)
    g = upstream.flatten(1)
    for row, digit in itertools.product(range(4), range(bits)):
        signs = torch.where(source.codes[digit, row] < 0, -1.0, 1.0)
        assert float(source.basis.grad[row, digit]) == pytest.approx(
            float((g[row] * signs).sum()), rel=1e-4, abs=1e-5
        )
        expected = source.basis[row, digit] * g[row] * (source.codes[digit, row].abs() <= 1)
        torch.testing.assert_close(source.codes.grad[digit, row], expected)
    assert float(source.codes.grad[0, 0, 0]) == 0


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_lsq_has_the_gradients_of_the_paper(bits):
    weight = torch.randn(4, 9, generator=GENERATOR)
    source = LsqWeights(weight, bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert float(source.step_size) == pytest.approx(2 * float(weight.abs().mean()) / high**0.5)
    upstream = torch.randn(4, 9, generator=GENERATOR)
    result = source()
    (result * upstream).sum().backward()
    step, total = float(source.step_size), 0.0
    for value, g, quantized, own in zip(
        *(tensor.flatten().tolist() for tensor in (weight, upstream, result, source.latent.grad)), strict=True
    ):
        inside = low < value / step < high
        steps = min(max(round(value / step), low), high)
        assert quantized == pytest.approx(steps * step, rel=1e-5)
        assert own == pytest.approx(g if inside else 0.0, rel=1e-5)
        total += g * (steps - value / step if inside else steps)  # equation 3
    assert float(source.step_size.grad) == pytest.approx(total / (36 * high) ** 0.5, rel=1e-4)


def test_one_bit_of_lsq_is_a_sign():
    source = LsqWeights(ROWS, 1)
    torch.testing.assert_close(source(), ROWS.sign() * ROWS.abs().mean())


@pytest.mark.parametrize("kind", [BasisWeights, DirectWeights, LsqWeights])
@pytest.mark.parametrize("bits", BITS)
def test_weights_take_no_more_values_than_their_bits_and_come_back_from_codes(kind, bits):
    source = kind(torch.randn(4, 50, generator=GENERATOR), bits).eval()
    before = source().detach()
    assert all(len(row.unique()) <= 2**bits for row in before)
    assert len(before[0].unique()) >= 2
    numbers = source.code_numbers()
    assert 0 <= int(numbers.min()) <= int(numbers.max()) < 2**bits
    getattr(source, source.free).data.fill_(0.3)
    source.take_codes(numbers)
    torch.testing.assert_close(source().detach(), before, rtol=1e-6, atol=1e-7)


def test_lq_nets_moves_its_basis_in_training_alone():
    source = BasisWeights(ROWS, 2)
    source.basis *= 1.2
    start, target = source.basis.clone(), refit(ROWS, source.basis, signed=True)
    source.eval()()
    assert torch.equal(source.basis, start)
    source.train()().sum().backward()
    torch.testing.assert_close(source.basis, 0.9 * start + 0.1 * target)
    assert torch.equal(source.latent.grad, torch.ones_like(ROWS))


def trained_quantizer(maps, *, fair, bits=2):
    quantizer = BasisActivations(bits, fair=fair)
    for _ in range(60):
        quantizer(maps)
    return quantizer.eval()


def test_fair_activations_serve_the_majority_of_channels():
    # Fifteen channels of activations around one half, one of some tens.
    maps = torch.rand(16, 16, 8, 8, generator=GENERATOR)
    maps[:, 0] *= 40
    errors = {}
    for fair in (False, True):
        quantizer = trained_quantizer(maps, fair=fair)
        assert len(quantizer(maps).unique()) <= 4
        errors[fair] = (maps - quantizer(maps)).transpose(0, 1).flatten(1).norm(dim=1)
    assert errors[True].sum() < 0.9 * errors[False].sum()  # what fair minimises
    assert errors[True].square().sum() > errors[False].square().sum()  # what LQ-Nets minimises
    assert errors[True][1:].max() < errors[False][1:].min()


def test_a_fair_fit_is_numpys_weighted_least_squares():
    values = torch.rand(6, 200, generator=GENERATOR) * torch.arange(1, 7)[:, None]
    quantizer = BasisActivations(2, fair=True)
    bases = quantizer.basis[None].expand(6, -1)
    numbers = nearest_codes(values, bases, signed=False)
    errors = (values - decode(numbers, bases, signed=False)).norm(dim=1)
    roots = (0.5 / errors).sqrt()[:, None].expand(-1, 200).flatten().double().numpy()
    codes = all_codes(2, signed=False)[numbers.flatten()].double().numpy()
    expected = np.linalg.lstsq(codes * roots[:, None], values.flatten().double().numpy() * roots, rcond=None)[
        0
    ]
    np.testing.assert_allclose(quantizer.fit(values).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("bits", BITS)
def test_activations_pass_their_gradient_inside_the_levels(bits):
    for quantizer in (trained_quantizer(IMAGES.relu(), fair=False, bits=bits), LsqActivations(bits)):
        quantizer(IMAGES.relu())
        maps = IMAGES.clone().requires_grad_()
        result = quantizer(maps)
        assert 2 <= len(result.unique()) <= 2**bits
        result.sum().backward()
        assert maps.grad[maps < 0].abs().max() == 0
        inside = (maps > 0) & (maps < result.max() * 0.999)
        assert torch.equal(maps.grad[inside], torch.ones_like(maps.grad[inside]))
        assert maps.grad[maps > result.max() * 1.001].abs().max() == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["densenet10"])
def test_quantized_models_learn_and_are_rebuilt(build, name, method):
    model = quantize(build(name, channels=1, size=8), method, weight_bits=2, activation_bits=2)
    assert spec_of(model).name == f"{name}-{method}2"
    labels = torch.arange(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(IMAGES), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert losses[-1] < 0.8 * losses[0]
    assert len(quantized_layers(model)) == 8
    rebuilt = build_from_spec(spec_of(model))
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(IMAGES), model.eval()(IMAGES))


@pytest.mark.parametrize("variant", ["dq1", "dq3", "lqnets2", "lsq4", "dqw2", "lsqw2-dqa3", "pruned50-dq2"])
def test_an_exported_network_has_its_size_and_its_outputs(build, variant, tmp_path: Path):
    model = build(f"densenet10-{variant}", channels=1, size=8)
    for _ in range(3):
        model(IMAGES)
    model.eval()
    size = save_quantized(model, tmp_path / "network.npz")
    assert size == (tmp_path / "network.npz").stat().st_size
    sources = [layer.weight_source for layer in quantized_layers(model).values()]
    codes = sum(packed_planes_bytes(source.shape.numel(), source.bits) for source in sources)
    left_out = {id(getattr(source, source.free)) for source in sources}
    others = [tensor for tensor in model.state_dict(keep_vars=True).values() if tensor.is_floating_point()]
    floats = 4 * sum(tensor.numel() for tensor in others if id(tensor) not in left_out)
    assert codes + floats < size < codes + floats + 2_000  # the header and the archive's own
    loaded = load_quantized(tmp_path / "network.npz")
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-5)
    assert spec_of(loaded) == spec_of(model)


def test_damaged_exports_are_refused(build, tmp_path: Path):
    path = tmp_path / "network.npz"
    save_quantized(build("densenet10-dq2", channels=1, size=8), path)
    arrays = dict(np.load(path))
    changes = {
        "floats": arrays["floats"][:-1],
        "codes": arrays["codes"][:-1],
        "header": arrays["header"][:-1],
    }
    for name, cut in changes.items():
        np.savez(path, **arrays | {name: cut})
        with pytest.raises(UserError, match="is no quantized network of this suite, or a damaged one"):
            load_quantized(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"is no valid \.npz archive"):
        load_quantized(path)


def test_wrong_quantizations_are_named(build):
    with pytest.raises(UserError, match="5 bits are not allowed; allowed: 1 to 4"):
        build("densenet10-dq5", size=8)
    with pytest.raises(UserError, match="efficientnet_b0 has negative activations"):
        build("efficientnet_b0-lsq2", size=8)
    with pytest.raises(UserError, match=r"densenet\.discard_rate: 0\.5 is not allowed with quantized"):
        build("densenet10-dq2", size=8, discard_rate=0.5)
    with pytest.raises(UserError, match="has expanded layers; contract it first"):
        build("densenet10-cl2-dq2", size=8)
    with pytest.raises(UserError, match="'xnor' is no known method; known: dq"):
        quantize(build("densenet10", size=8), "xnor", weight_bits=1, activation_bits=None)
