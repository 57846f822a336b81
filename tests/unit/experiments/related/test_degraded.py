"""Degraded images as data of variants: levels, layouts, targets, and the accuracy at every level."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.data import Split
from pipelines.data.degradations import LEVELS, degrade
from pipelines.data.prepared import SPLITS
from pipelines.experiments.related.degraded_data import (
    LAYOUTS,
    PARAMETER_STD,
    at_level,
    degraded_data,
    drawn_levels,
)
from pipelines.experiments.related.system import Context, Role, System
from pipelines.experiments.related.systems import build_system
from pipelines.experiments.related.systems.degraded import TESTED_LEVELS, front_errors
from pipelines.models.degraded import Fronted, Restorer, append_channel, replace_images
from tests.unit.experiments.related.test_systems import CONFIG, SEED, make_data, networks

DATA = make_data(num_images=48)


def made(layout: str, kind: str = "noise", seed: int = SEED):  # type: ignore[no-untyped-def]
    return degraded_data(DATA, seed, kind=kind, layout=layout)


def normalised(split: Split, data) -> torch.Tensor:  # type: ignore[no-untyped-def]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return (split.images / 255 - mean) / std


def test_levels_are_drawn_for_every_image_by_the_seed() -> None:
    many = make_data(num_images=2200)
    levels = drawn_levels(many, 1)["train"]
    counts = torch.bincount(levels // 10, minlength=len(LEVELS))
    # 200 a level expected; five standard deviations of a binomial count.
    assert (counts - 200).abs().max() < 5 * (2200 / 11 * 10 / 11) ** 0.5
    assert torch.equal(levels, drawn_levels(many, 1)["train"])
    assert not torch.equal(levels, drawn_levels(many, 2)["train"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_the_degraded_image_and_what_stands_behind_it(layout: str) -> None:
    data, levels = made(layout), drawn_levels(DATA, SEED)
    for name in SPLITS:
        before, after = getattr(DATA, name), getattr(data, name)
        assert torch.equal(after.labels, before.labels)
        spared = layout == "clean" and name != "test"
        expected = before.images if spared else degrade(before.images, "noise", levels[name])
        assert torch.equal(after.images[:, :1], expected)
        behind = after.images[:, 1:]
        if layout == "parameter":
            assert (behind.double() / 255 - levels[name].view(-1, 1, 1, 1) / 100).abs().max() < 1 / 255
        elif layout == "constant":
            assert behind.unique().tolist() == [128]
        elif layout == "restoration":
            assert torch.equal(behind, before.images)
        else:
            assert behind.shape[1] == 0
    assert len(data.mean) == len(data.std) == data.num_channels
    assert made(layout, seed=2).checksum != data.checksum


def test_a_normalised_parameter_is_in_its_standard_deviations() -> None:
    """What the estimator learns: (level - 50) / 31.6, so that its error is a part of the spread."""
    data, levels = made("parameter"), drawn_levels(DATA, SEED)["train"]
    found = normalised(data.train, data)[:, -1, 0, 0].double()
    expected = (levels.double() / 100 - 0.5) / np.std(np.array(LEVELS) / 100)
    assert (found - expected).abs().max() < 0.5 / 255 / PARAMETER_STD + 1e-5  # the channel has 256 values


def test_the_test_part_at_a_level_is_degraded_by_that_level_alone() -> None:
    for level in (0, 70):
        split = at_level(DATA, level, kind="noise", layout="parameter")
        expected = degrade(DATA.test.images, "noise", torch.full((48,), level))
        assert torch.equal(split.images[:, :1], expected)
        assert (split.images[:, 1].double() / 255 - level / 100).abs().max() < 1 / 255
        assert torch.equal(split.labels, DATA.test.labels)


@pytest.fixture(scope="module")
def system() -> System:
    return build_system(CONFIG, "degraded")


@pytest.mark.parametrize("stem", ["estimated", "restored"])
def test_the_objective_is_cross_entropy_plus_the_error_of_the_front(system: System, stem: str) -> None:
    network, context = networks(system, DATA, f"{stem}_jpeg")[f"{stem}_jpeg"]
    objective = system.variant(f"{stem}_jpeg").objective(context)
    images = normalised(context.data.train, context.data)[:6]
    labels = DATA.train.labels[:6]
    given = network.train()(images)
    target = images[:, 1:].flatten(1) if stem == "restored" else images[:, 1, :1, 0]
    assert given.shape[1] == 3 + target.shape[1]
    total = 0.0
    for row, label, wanted in zip(given.detach().double(), labels.tolist(), target.double(), strict=True):
        total -= float(row[:3].log_softmax(0)[label]) / 6
        total += float(sum((one - other) ** 2 for one, other in zip(row[3:], wanted, strict=True))) / (
            6 * len(wanted)
        )
    assert objective(given, labels, images).item() == pytest.approx(total, rel=1e-5)


def test_every_level_has_its_accuracy(system: System) -> None:
    """Of a network that is right where the parameter it is given is below 0.35."""

    class Knowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            clean = images[:, -1, 0, 0] * PARAMETER_STD + 0.5 < 0.35
            right = torch.nn.functional.one_hot(DATA.test.labels, 3).float()
            return torch.where(clean[:, None], right, right.roll(1, 1))

    variant = system.variant("true_blur")
    data = variant.data(DATA, SEED)
    context = Context(data=data, seed=SEED, source=None, prepared=DATA)
    row = system.extra(variant, Knowing(), Knowing(), context)
    assert [row[f"level{level}_accuracy"] for level in TESTED_LEVELS] == [1.0] * 2 + [0.0] * 4
    assert row["levels_accuracy"] == pytest.approx(2 / 6)
    assert "parameter_error" not in row


def test_what_a_front_is_worth_is_measured_in_the_units_of_the_parameter_and_in_decibels() -> None:
    data = made("parameter")

    class Fixed(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 1)  # the mean parameter, 0.5

    levels = drawn_levels(DATA, SEED)["test"].double() / 100
    expected = float((levels - 0.5).square().mean().sqrt())
    network = Fronted(Fixed(), nn.Linear(1, 1), 1, append_channel)
    assert front_errors(network, data)["parameter_error"] == pytest.approx(expected, abs=0.5 / 255)

    restorer = Restorer(1, 4, 8)
    network = Fronted(restorer, nn.Linear(1, 1), 1, replace_images)
    assert front_errors(network, made("restoration"))["restored_decibels"] == pytest.approx(0)
    # Half of the way to the clean image is a quarter of the error: 6.02 dB.
    images = normalised(made("restoration").test, made("restoration"))
    restorer.forward = lambda own: (own + images[:, 1:]) / 2  # type: ignore[method-assign]
    gained = front_errors(network, made("restoration"))["restored_decibels"]
    assert gained == pytest.approx(10 * np.log10(4), abs=1e-3)


def test_one_kind_is_trained_on_two_workers_and_all_variants_of_a_kind_see_the_same_levels(
    system: System,
) -> None:
    on_workers = [one for one in system.variants() if one.trains_on_workers]
    assert {one.name.rpartition("_")[2] for one in on_workers} == {"jpeg"}
    assert {one.role for one in on_workers} == {Role.BASELINE, Role.SYSTEM}
    for one, (network, context) in networks(system, DATA).items():
        if hasattr(network, "spec"):
            assert network.spec.num_channels == context.data.num_channels, one
    of_the_kind = [one for one in system.variants() if one.name.endswith("_jpeg")]
    seen = {one.name: one.data(DATA, SEED) for one in of_the_kind if isinstance(one.data, partial)}
    for name, data in seen.items():
        if name != "clean_jpeg":
            expected = seen["degraded_jpeg"].train.images
            assert torch.equal(data.train.images[:, :1], expected), name
