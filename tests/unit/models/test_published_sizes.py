"""Parameter counts against the literature: a wrong width, a bias or a forgotten layer shows here."""

import pytest
import torch

from pipelines.models import MODELS, count_multiply_adds, count_parameters
from pipelines.models.reuse import DiscardDraws
from pipelines.models.statistics import count_training_multiply_adds

PLAIN = {"bottleneck": False, "compression": 1.0}


@pytest.mark.parametrize(
    ("depth", "num_parameters", "num_tensors"),
    [(50, 247_948, 149), (100, 769_162, 299), (200, 2_592_898, 599)],
)
def test_study_depths(build, depth, num_parameters, num_tensors):
    model = build(f"densenet{depth}")
    assert count_parameters(model) == num_parameters
    assert len(list(model.parameters())) == num_tensors


# Huang et al. 2017, table 2, in millions to one decimal; DenseNet-BC-100-12 and -40-12 and so on.
@pytest.mark.parametrize(
    ("name", "changes", "millions"),
    [
        ("densenet100", {}, 0.8),
        ("densenet40", PLAIN, 1.0),
        ("densenet100", PLAIN, 7.0),
        ("densenet250", {"growth_rate": 24}, 15.3),
        ("densenet190", {"growth_rate": 40}, 25.6),
    ],
)
def test_published_densenets(build, name, changes, millions):
    assert round(count_parameters(build(name, **changes)) / 1e6, 1) == millions


# VGG and ResNet: kuangliu/pytorch-cifar at 32x32. EfficientNet-B0: torchvision's 5,288,548 less the 990 classes
# of 1,281 values each that CIFAR-10 does not have; the stem's weights are the same.
@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("vgg16_bn", 14_728_266),
        ("vgg19_bn", 20_040_522),
        ("resnet18", 11_173_962),
        ("resnet50", 23_520_842),
        ("efficientnet_b0", 5_288_548 - 990 * 1_281),
    ],
)
def test_baselines(build, name, num_parameters):
    assert count_parameters(build(name)) == num_parameters


# Huang et al. 2019, section 3: a stem and one kernel of 128 to 128 channels, a batch norm of 2 x 128 a use, a linear
# layer; a regulator is 128 x 128 a use of the kernel; mix: a kernel for each of 128, 256, 512 channels and a
# convolution from each to the next.
STEM, KERNEL, CLASSIFIER = 3 * 128 * 9, 128 * 128 * 9, 128 * 10 + 10


@pytest.mark.parametrize("depth", [8, 13, 32])
def test_anchored_networks(build, depth):
    plain = STEM + KERNEL + 2 * 128 * depth + CLASSIFIER
    assert count_parameters(build(f"dacnn{depth}")) == plain
    assert count_parameters(build(f"dacnnreg{depth}")) == plain + 128 * 128 * (depth - 1)


def test_mixed_anchored_network(build):
    kernels = KERNEL * (1 + 2 + 4 + 8 + 16)
    norms = 2 * (5 * 128 + 4 * 256 + 4 * 512)
    assert count_parameters(build("dacnnmix13")) == STEM + kernels + norms + 512 * 10 + 10


def test_sharing_divides_the_parameters_of_the_kernels_by_their_uses(build):
    model = build("dacnn13", channels=3)
    kernels = {id(model._conv_at(place).weight) for place in range(1, 13)}
    assert kernels == {id(model.shared[0].weight)}
    # 12 uses at 32x32 pixels, pooled five times: every use costs what a kernel of its own would.
    sides = [32] * 3 + [16] * 2 + [8] * 3 + [4] * 2 + [2] * 3
    expected = STEM * 32**2 + KERNEL * sum(side**2 for side in sides[1:]) + 128 * 10
    assert count_multiply_adds(model, (3, 32, 32)) == expected


def test_every_registered_baseline_has_a_published_size():
    assert set(MODELS) == {
        *("densenet<depth>", "vgg16_bn", "vgg19_bn", "resnet18", "resnet50", "efficientnet_b0"),
        *("dacnn<depth>", "dacnnmix<depth>", "dacnnreg<depth>", "dacnnplain<depth>", "plain<depth>"),
        *("compact3", "compact5", "compact7"),
        *("chain_<layers>", "blocks_<layers>"),  # tests/unit/models/test_searched.py
    }


# densenet10: one layer per block at 8x8, 4x4, 2x2 pixels, compression by half after the first two.
PIXELS = (64, 16, 4)
INPUTS = (24, 18, 15)
NOT_LAYERS = 1 * 24 * 9 * 64 + 64 * 36 * 18 + 16 * 30 * 15 + 27 * 10  # stem, transitions, classifier


def layers_by_hand(inputs):
    """1x1 convolutions of `inputs` maps to 48, 3x3 convolutions of those to 12."""
    return sum(p * (c * 48 + 48 * 12 * 9) for p, c in zip(PIXELS, inputs, strict=True))


def test_multiply_adds_by_hand(build):
    model = build("densenet10", channels=1, size=8)
    assert count_multiply_adds(model, (1, 8, 8)) == NOT_LAYERS + layers_by_hand(INPUTS)
    assert model.training


@pytest.mark.parametrize("memory_efficient", [False, True])
@pytest.mark.parametrize(("granularity", "group_size"), [("layer", 12), ("channel_group", 4)])
def test_multiply_adds_in_training_by_hand(build, memory_efficient, granularity, group_size):
    options = {"channels": 1, "size": 8, "memory_efficient": memory_efficient}
    full = build("densenet10", **options)
    assert count_training_multiply_adds(full, (1, 8, 8), 1) == NOT_LAYERS + layers_by_hand(INPUTS)
    model = build("densenet10", **options, discard_rate=0.5, discard_granularity=granularity, seed=5)
    draws = DiscardDraws(0.5, group_size, seed=5)
    # 18 and 15 maps make groups of two sizes, so that what is kept differs from draw to draw.
    kept = [[len(draws.draw(width, 12, 1)[0].channels) for width in INPUTS] for _ in range(6)]
    by_hand = [NOT_LAYERS + layers_by_hand(inputs) for inputs in kept]
    assert len(set(by_hand)) > 1
    assert count_training_multiply_adds(model, (1, 8, 8), 6) == round(sum(by_hand) / 6)


def test_counting_changes_neither_the_model_nor_the_random_state(build):
    model = build("densenet10", channels=1, size=8, discard_rate=0.5, dropout=0.2).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = model.generator.get_state(), torch.random.get_rng_state()
    count_training_multiply_adds(model, (1, 8, 8), 2)
    assert not model.training
    assert torch.equal(model.generator.get_state(), states[0])
    assert torch.equal(torch.random.get_rng_state(), states[1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
