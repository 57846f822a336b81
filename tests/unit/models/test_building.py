import math

import pytest
import torch

from pipelines.errors import UserError
from pipelines.models import find_factory, spec_of
from pipelines.models.blocks import block_layers

NAMES = [
    *("densenet22", "densenet50", "vgg16_bn", "vgg19_bn", "efficientnet_b0", "resnet18"),
    *("dacnn13", "dacnnmix6", "dacnnreg8"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
def test_forward_and_backward_on_small_images(build, name, channels, size):
    model = build(name, channels=channels, size=size)
    logits = model(torch.rand(2, channels, size, size))
    assert logits.shape == (2, 10)
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ["vgg16_bn", "efficientnet_b0", "resnet18", "resnet50", "dacnn13"])
@pytest.mark.parametrize("size", [8, 32])
def test_no_convolution_of_a_baseline_sees_less_than_2x2_pixels(build, name, size):
    model = build(name, size=size).eval()
    sides = []
    for module in model.modules():
        # EfficientNet's squeeze-excitation works on 1x1 averages by design.
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[-1]))
    model(torch.rand(1, 3, size, size))
    assert len(sides) >= 13
    assert min(sides) >= 2


def test_initialisation_depends_on_the_seed_alone(build):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build("densenet22", seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second, other = build("densenet22", seed=3), build("densenet22", seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.stem.weight, other.stem.weight)


def test_specification_is_attached(build):
    spec = spec_of(build("densenet22", channels=1, size=8, seed=7))
    assert (spec.name, spec.depth, spec.num_channels, spec.image_size, spec.seed) == (
        "densenet22",
        22,
        1,
        8,
        7,
    )
    with pytest.raises(ValueError, match="no specification"):
        spec_of(torch.nn.Identity())


@pytest.mark.parametrize(
    ("depth", "changes", "layers"),
    [
        (50, {}, (7, 8, 8)),
        (100, {}, (16, 16, 16)),
        (200, {}, (32, 33, 33)),
        (10, {}, (1, 1, 1)),
        (40, {"bottleneck": False}, (12, 12, 12)),
        (60, {"blocks": {"60": (9, 9, 10)}}, (9, 9, 10)),
        (121, {"blocks": {"121": (6, 12, 24, 16)}}, (6, 12, 24, 16)),
        (50, {"blocks": {"50": (8, 8, 7)}}, (8, 8, 7)),
    ],
)
def test_block_rule(densenet_config, depth, changes, layers):
    assert block_layers(depth, densenet_config(**changes)) == layers


@pytest.mark.parametrize("depth", [60, 101, 4, 3, 0])
def test_depth_without_a_rule(densenet_config, depth):
    with pytest.raises(UserError, match=rf"train\.depths: {depth} fits no block rule; allowed: 6n \+ 4"):
        block_layers(depth, densenet_config())


def test_50_and_200_have_no_tuple_without_bottleneck(densenet_config):
    with pytest.raises(UserError, match="200 fits no block rule"):
        block_layers(200, densenet_config(bottleneck=False))


def test_blocks_must_add_up_to_the_depth(densenet_config):
    with pytest.raises(UserError, match=r"densenet\.blocks\.60: \[9, 9, 9\] makes a network of depth 58"):
        block_layers(60, densenet_config(blocks={"60": (9, 9, 9)}))


@pytest.mark.parametrize("name", ["resnet", "densenet", "vgg16", "densenet050", ""])
def test_unknown_name(name):
    with pytest.raises(UserError) as caught:
        find_factory(name)
    assert str(caught.value).startswith(f"baseline.models: {name!r} is no known model; known: ")
    assert "densenet<depth>" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_image_too_small(build):
    with pytest.raises(UserError, match=r"prepare\.image_size: 3 is too small for densenet22"):
        build("densenet22", size=3)


def test_efficientnet_starts_at_the_loss_of_guessing(build):
    """torchvision's own classifier init, meant for 1,000 classes, starts at a loss of 5 with 10 of them."""
    model = build("efficientnet_b0", channels=1, size=8).train()
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(model(images), torch.arange(64) % 10)
    # Logits are sums of 1,280 features of order 1 times weights of 0.01: about 0.4, which moves the loss by 0.1.
    assert abs(loss.item() - math.log(10)) < 0.3
