"""Expanded layers against chains of real convolutions, and their contraction on the suite's models."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models import ModelSpec, build_from_spec, count_parameters, find_factory, spec_of
from pipelines.models.expand import contract, expand

SPEC = ModelSpec(name="layer", num_channels=4, num_classes=10, image_size=9, densenet=None, seed=2)
# float64 sums of at most some hundred products in another order.
TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


def chain(layer: nn.Conv2d, factors: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The layers of the paper one after the other: all padding first, the stride last, no bias but the layer's."""
    images = functional.pad(images, (layer.padding[1],) * 2 + (layer.padding[0],) * 2)
    for index, factor in enumerate(factors):
        # The stride may be taken where the last kernel with more than one pixel is; a 1x1 layer does not care.
        last = index == max(i for i, one in enumerate(factors) if one.shape[-1] > 1 or i == 0)
        images = functional.conv2d(
            images, factor.flatten(0, 1), stride=layer.stride if last else 1, groups=factor.shape[0]
        )
    return images if layer.bias is None else images + layer.bias[:, None, None]


CONVOLUTIONS = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "strided with bias": {"kernel_size": 3, "padding": 1, "stride": 2, "bias": True},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 5, "padding": 2, "stride": 2, "groups": 4},
    "1x1": {"kernel_size": 1},
    "5x5": {"kernel_size": 5, "padding": 2},
    "7x7 strided": {"kernel_size": 7, "padding": 3, "stride": 2, "bias": True},
    "unpadded": {"kernel_size": 3},
    "oblong": {"kernel_size": (1, 3), "padding": (0, 1)},
}


@pytest.mark.parametrize("kind", ["cl", "ck+cl"])
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_outputs_and_gradients_are_those_of_real_layers_in_a_row(options, kind):
    if "ck" in kind and not (options["kernel_size"] in (5, 7) and options.get("groups", 1) == 1):
        options = {"kernel_size": 5, "padding": 2, "groups": options.get("groups", 1)}
    model = nn.Sequential(nn.Conv2d(4, 8, **{"bias": False, **options})).double()
    model.spec = SPEC
    if "ck" in kind:
        model.append(nn.Conv2d(8, 2, 3).double())  # cl's part
    layer = expand(model, kind, 3)[0]
    factors = [factor.detach().clone().requires_grad_() for factor in layer.factors]
    widths = {(factor.shape[1], factor.shape[2]) for factor in factors}
    assert len(factors) == ((options["kernel_size"] - 1) // 2 if "ck" in kind else 3)
    assert len(widths) == len(factors)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 4, 9, 9, generator=generator, dtype=torch.float64)
    result, expected = layer(images), chain(layer, factors, images)
    torch.testing.assert_close(result, expected, **TOLERANCE)
    result.square().sum().backward()
    expected.square().sum().backward()
    for own, reference in zip(layer.factors, factors, strict=True):
        torch.testing.assert_close(own.grad, reference.grad, **TOLERANCE)


def test_a_linear_layer_becomes_three_matrices():
    model = nn.Sequential(nn.Linear(6, 4)).double()
    model.spec = SPEC
    layer = expand(model, "fc", 2)[0]
    first, second, third = (factor[0, :, :, 0, 0] for factor in layer.factors)
    assert (first.shape, second.shape, third.shape) == ((12, 6), (8, 12), (4, 8))
    features = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(features), features @ first.T @ second.T @ third.T + layer.bias)


# Every layer type of the suite: strided, depthwise, pointwise, with and without bias, DenseNet's own, linear. Of the
# large networks a part with all of their layers, as the whole takes a minute.
def whole(model):
    return model


PARTS = {
    "densenet10": (whole, "cl+fc", 4),
    "dacnn8": (whole, "cl", 1),
    "resnet18": (lambda model: model.layer2, "cl", 2),
    "vgg16_bn": (lambda model: model.features[:7], "cl", 2),
    "efficientnet_b0": (lambda model: model.features[:4], "ck+cl", 2),
}


@pytest.mark.parametrize("name", PARTS)
def test_contracted_models_compute_the_same(build, name):
    part, kind, rate = PARTS[name]
    channels = 64 if name == "resnet18" else 3
    compact = part(build(name, size=16))
    compact.spec = build("densenet10", size=8).spec
    model = expand(compact, kind, rate)
    assert count_parameters(model) > count_parameters(compact)
    with torch.no_grad():  # not what they started with
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    model.eval()
    contracted = contract(model)
    images = torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(images)
        # float32 sums in another order
        assert (contracted(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
        compact.load_state_dict(contracted.state_dict())
        torch.testing.assert_close(compact.eval()(images), expected, rtol=1e-5, atol=1e-5)
    assert contracted.state_dict().keys() == compact.state_dict().keys()
    names = [one for one, _ in compact.named_parameters()]
    assert [one for one, _ in contracted.named_parameters()] == names
    assert spec_of(contracted) == spec_of(compact)


def test_an_expanded_model_starts_at_the_scale_of_the_compact_one(build):
    compact, expanded = build("densenet10", size=8), contract(build("densenet10-cl4", size=8))
    for one, other in zip(compact.parameters(), expanded.parameters(), strict=True):
        torch.testing.assert_close(one.square().mean(), other.square().mean())


def test_it_is_rebuilt_from_its_specification_and_learns(build):
    model = build("densenet10-cl2-fc2", size=8)
    twin = build_from_spec(replace(spec_of(model), seed=0))
    before = copy.deepcopy(model.state_dict())
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in before.items())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    functional.cross_entropy(model(torch.rand(4, 3, 8, 8)), torch.arange(4)).backward()
    optimizer.step()
    assert all(
        not torch.equal(value, before[name]) for name, value in model.named_parameters() if "factors" in name
    )
    assert model.spec.depth == 10
    assert model.spec.densenet == build("densenet10").spec.densenet


def test_wrong_expansions_are_named(build):
    model = build("densenet10", size=8)
    with pytest.raises(UserError, match=r"'cl\+cl' is not allowed; allowed: cl, ck, fc"):
        expand(model, "cl+cl", 2)
    with pytest.raises(UserError, match="rate 65 is not allowed; allowed: 1 to 64"):
        expand(model, "cl", 65)
    with pytest.raises(UserError, match="no layer that ck2 expands"):
        expand(model, "ck", 2)
    with pytest.raises(UserError, match="'cl' is no variant with a number"):
        find_factory("resnet18-cl")
    with pytest.raises(UserError, match=r"'bigger' is no known variant of a model; known: .*cl"):
        find_factory("resnet18-bigger4")
    with pytest.raises(UserError, match="'resnet-cl2' is no known model"):
        find_factory("resnet-cl2")
