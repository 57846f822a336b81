"""Networks for degraded images: what reaches what, and what the parameter does."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.models.degraded import (
    FeatureWise,
    Fronted,
    Restorer,
    append_channel,
    estimator,
    parameter_of,
    replace_images,
    scale_first_maps,
)


def images_of(channels: int, number: int = 4) -> torch.Tensor:
    return torch.randn(number, channels, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", [4, 6])
def test_the_estimator_has_its_convolutions_and_gives_a_number_an_image(depth: int) -> None:
    network = estimator(3, depth, 16)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == depth
    assert network(images_of(3)).shape == (4, 1)
    assert sum(isinstance(module, nn.Conv2d) for module in Restorer(3, depth, 16).modules()) == depth


def test_a_restorer_starts_with_the_image_itself() -> None:
    assert torch.equal(Restorer(3, 4, 8)(images_of(3)), images_of(3))


def fronted(build, kind: str) -> Fronted:
    if kind == "estimator":
        return Fronted(estimator(1, 4, 8), build("compact3", channels=2, size=8), 1, append_channel)
    return Fronted(Restorer(1, 4, 8), build("compact3", channels=1, size=8), 1, replace_images)


@pytest.mark.parametrize("kind", ["estimator", "restorer"])
def test_the_target_behind_the_image_is_not_read(build, kind: str) -> None:
    network = fronted(build, kind).eval()
    images, other = images_of(2), images_of(2)
    other[:, 1] = 7
    with torch.inference_mode():
        assert torch.equal(network(images), network(other))
        assert network(images).shape == (4, 10)


@pytest.mark.parametrize("kind", ["estimator", "restorer"])
def test_either_loss_reaches_its_own_part_alone(build, kind: str) -> None:
    for part, other in (("classifier", "front"), ("front", "classifier")):
        network = fronted(build, kind).train()
        given = network(images_of(2))
        loss = functional.cross_entropy(given[:, :10], torch.arange(4)) if part == "classifier" else None
        (loss if loss is not None else given[:, 10:].square().mean()).backward()
        assert not any(
            p.grad is not None and bool(p.grad.any()) for p in network.get_submodule(other).parameters()
        )
        assert any(
            p.grad is not None and bool(p.grad.any()) for p in network.get_submodule(part).parameters()
        )


def test_the_classifier_gets_what_the_front_gives(build) -> None:
    network = fronted(build, "estimator").eval()
    images = images_of(2)
    with torch.inference_mode():
        estimate = network.front(images[:, :1])
        channel = estimate.view(4, 1, 1, 1).expand(-1, 1, 8, 8)
        expected = network.classifier(torch.cat([images[:, :1], channel], 1))
        torch.testing.assert_close(network(images), expected, rtol=0, atol=0)


def test_the_parameter_is_read_where_a_crop_has_put_zeros_at_the_border() -> None:
    images = torch.zeros(2, 3, 8, 8)
    images[0, -1, 2:] = 1.25
    images[1, -1, :, :6] = -0.5
    assert parameter_of(images).tolist() == [1.25, -0.5]


def test_feature_wise_scale_and_shift_is_a_loop_over_images_and_maps() -> None:
    torch.manual_seed(0)
    layer = FeatureWise(nn.Conv2d(2, 5, 3, padding=1))
    images = images_of(3)
    images[:, -1] = torch.tensor([0.5, -1.0, 0.0, 2.0]).view(4, 1, 1)
    torch.testing.assert_close(layer(images), layer.conv(images[:, :2]))  # nothing at first
    nn.init.normal_(layer.scale_shift.weight)
    nn.init.normal_(layer.scale_shift.bias)
    found, maps = layer(images), layer.conv(images[:, :2])
    weight, bias = layer.scale_shift.weight[:, 0], layer.scale_shift.bias
    for image in range(4):
        value = images[image, -1, 0, 0]
        for index in range(5):
            scale = weight[index] * value + bias[index]
            shift = weight[5 + index] * value + bias[5 + index]
            expected = (1 + scale) * maps[image, index] + shift
            torch.testing.assert_close(found[image, index], expected)


@pytest.mark.parametrize("name", ["compact3", "densenet10", "vgg16_bn"])
def test_the_first_convolution_of_a_model_becomes_feature_wise(build, name: str) -> None:
    model = scale_first_maps(build(name, channels=1, size=8))
    assert sum(isinstance(module, FeatureWise) for module in model.modules()) == 1
    assert model(images_of(2)).shape == (4, 10)
    with pytest.raises(ValueError, match="has no convolution"):
        scale_first_maps(nn.Sequential(nn.Linear(2, 2)))
