"""Parameter counts against the literature: a wrong width, a bias or a forgotten layer shows here."""

import pytest

from pipelines.models import MODELS, count_multiply_adds, count_parameters

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
        ("efficientnet_b0", 5_288_548 - 990 * 1_281),
    ],
)
def test_baselines(build, name, num_parameters):
    assert count_parameters(build(name)) == num_parameters


def test_every_registered_baseline_has_a_published_size():
    assert set(MODELS) == {"densenet<depth>", "vgg16_bn", "vgg19_bn", "resnet18", "efficientnet_b0"}


def test_multiply_adds_by_hand(build):
    # densenet10: one bottleneck layer per block at 8x8, 4x4, 2x2 pixels; widths 24 -> 36 | 18 -> 30 | 15 -> 27.
    pixels = (64, 16, 4)
    inputs = (24, 18, 15)
    stem = 1 * 24 * 9 * 64
    layers = sum(p * (c * 48 + 48 * 12 * 9) for p, c in zip(pixels, inputs, strict=True))
    transitions = 64 * 36 * 18 + 16 * 30 * 15
    model = build("densenet10", channels=1, size=8)
    assert count_multiply_adds(model, (1, 8, 8)) == stem + layers + transitions + 27 * 10
    assert model.training
