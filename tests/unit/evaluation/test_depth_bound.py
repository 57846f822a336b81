"""Entropies, layer measures and probes against scipy, slow loops and networks whose layers are known."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from pipelines.errors import UserError
from pipelines.evaluation.entropy import bounded_depth, difference_entropy, fitted_constant, intensity_entropy
from pipelines.evaluation.layers import layer_names, layer_outputs, probe_accuracy, useful_depth
from pipelines.models import build_model
from tests.configs import make_densenet

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 40, (6, 3, 8, 8), generator=GENERATOR, dtype=torch.uint8)


def build(name: str) -> torch.nn.Module:
    return build_model(
        name, num_channels=3, num_classes=4, image_size=8, densenet=make_densenet(), seed=0
    ).eval()


def test_intensity_entropy_is_scipys() -> None:
    for channel, found in enumerate(intensity_entropy(IMAGES)):
        _, counts = np.unique(IMAGES[:, channel].numpy(), return_counts=True)
        assert found == pytest.approx(entropy(counts, base=2), rel=1e-12)
    halves = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).view(1, 1, 8, 8)
    assert intensity_entropy(halves) == (1.0,)
    assert intensity_entropy(torch.full((1, 1, 4, 4), 7, dtype=torch.uint8)) == (0.0,)


def test_difference_entropy_by_a_slow_loop() -> None:
    for channel, found in enumerate(difference_entropy(IMAGES)):
        counts: Counter[int] = Counter()
        for image in IMAGES[:, channel].int().tolist():
            for row in range(8):
                for column in range(8):
                    if column < 7:
                        counts[image[row][column + 1] - image[row][column]] += 1
                    if row < 7:
                        counts[image[row + 1][column] - image[row][column]] += 1
        total = sum(counts.values())
        expected = -sum(count / total * math.log2(count / total) for count in counts.values())
        assert found == pytest.approx(expected, rel=1e-12)


def test_the_bound_has_one_constant_and_grows_with_the_entropy() -> None:
    constant = fitted_constant(4.0, 10)
    assert bounded_depth(4.0, constant) == 10
    assert [bounded_depth(bits, constant) for bits in (0.0, 2.0, 6.0)] == [1, 5, 15]
    with pytest.raises(UserError, match="entropy of 0 bits"):
        fitted_constant(0.0, 10)


@pytest.mark.parametrize(
    ("name", "number"), [("plain6", 6), ("dacnn5", 5), ("vgg16_bn", 13), ("resnet18", 8)]
)
def test_every_layer_is_found_once(name: str, number: int) -> None:
    model = build(name)
    images = torch.randn(3, 3, 8, 8, generator=GENERATOR)
    outputs = layer_outputs(model, [images[:2], images[2:]])
    assert len(outputs.names) == len(outputs.features) == len(outputs.relative_changes) == number
    assert all(len(features) == 3 for features in outputs.features)
    assert layer_names(model) == outputs.names
    # The classifier reads the last layer's features.
    classifier = model.fc if name == "resnet18" else model.classifier
    if not name.startswith("dacnn"):  # which pools once more
        with torch.no_grad():
            torch.testing.assert_close(
                classifier(torch.from_numpy(outputs.features[-1])), model(images), rtol=1e-4, atol=1e-5
            )


def test_relative_changes_of_known_layers() -> None:
    model = build("plain9")
    with torch.no_grad():
        for place, factor in ((1, 1.0), (2, 3.0)):  # an identity, and three times its input
            conv, norm, _ = model.layers[place]
            torch.nn.init.dirac_(conv.weight)
            norm.weight.fill_(factor)
    outputs = layer_outputs(model, [torch.randn(5, 3, 8, 8, generator=GENERATOR)])
    # Batch norms at their start divide by sqrt(1 + 1e-5).
    assert outputs.relative_changes[1] == pytest.approx(0.0, abs=1e-5)
    assert outputs.relative_changes[2] == pytest.approx(2.0, abs=1e-4)
    assert outputs.relative_changes[0] is None  # nothing before it
    assert outputs.relative_changes[3] is None  # another stage, another shape


def test_probes_tell_what_a_linear_classifier_can() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 400)
    noise = generator.normal(size=(400, 6)).astype(np.float32)
    telling = noise + 5 * np.eye(4, 6, dtype=np.float32)[labels]
    accuracies = [
        probe_accuracy(features[:300], labels[:300], features[300:], labels[300:])
        for features in (noise, telling)
    ]
    # Guessing one of four: 0.25 with a standard error of 0.043 over 100 images; five of them.
    assert abs(accuracies[0] - 0.25) < 0.22
    assert accuracies[1] > 0.95
    assert useful_depth((0.3, 0.7, 0.895, 0.9, 0.9), 0.01) == 3
    assert useful_depth((0.9, 0.1), 0.0) == 1


def test_a_dense_net_has_no_such_layers() -> None:
    with pytest.raises(UserError, match="the layers of densenet10 cannot be measured one by one"):
        layer_names(build("densenet10"))
