"""Fashion by four approaches: what each adds, what is transferred and frozen, on which images, and what is measured."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.config import load_section
from pipelines.data import AugmentConfig, PrepareConfig, PreparedData
from pipelines.data.config import LabelNoiseConfig
from pipelines.data.others import with_channels
from pipelines.data.preparation import channel_statistics, prepare
from pipelines.errors import UserError
from pipelines.experiments.related.answers.claims import claim_rows
from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.measure import measure
from pipelines.experiments.related.runs.trials import Trial
from pipelines.experiments.related.system import Context
from pipelines.experiments.related.systems import build_system
from pipelines.experiments.related.systems.fashion_four import FashionFour, class_accuracies, even_classes
from pipelines.experiments.study.runs.worker import load_once, train_run
from pipelines.models import build_model, count_parameters
from pipelines.models.classifier import DroppedLinear
from pipelines.parallel.strategies import build_strategy
from pipelines.training import load_checkpoint
from tests.configs import make_densenet
from tests.imports import ROOT
from tests.unit.experiments.related import fake
from tests.unit.experiments.related.test_systems import CONFIG, make_data, networks

PREPARE = load_section(PrepareConfig, "prepare", ROOT / "params.yaml")


@pytest.fixture
def system() -> FashionFour:
    built = build_system(CONFIG, "fashion_four")
    assert isinstance(built, FashionFour)
    return built


def write_cifar(folder: Path) -> None:
    """Write 200 colour images of ten classes as CIFAR-10's archive, those of a class in one colour."""
    labels = np.arange(200) % 10
    images = np.zeros((200, 32, 32, 3), np.uint8)
    images[:] = labels[:, None, None, None] * np.array([20, 10, 5])
    np.savez(folder / "cifar10.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])


def test_the_approaches_add_up(system: FashionFour) -> None:
    variants = {one.name: one for one in system.variants()}
    built = {name: network for name, (network, _) in networks(system, make_data()).items()}
    dropped = {
        name: any(isinstance(m, DroppedLinear) for m in network.modules()) for name, network in built.items()
    }
    augmented = {name: one.augment["fashion_mnist"].flip for name, one in variants.items()}
    assert dropped == {name: name != "cnn" for name in variants}
    assert augmented == {name: name not in ("cnn", "dropout") for name in variants}
    assert {name for name, one in variants.items() if one.after == "source"} == {"frozen", "transfer"}
    assert len({count_parameters(network) for network in built.values()}) == 1
    assert {one.epochs for one in variants.values()} == {system.options.epochs}


def test_what_is_transferred_is_all_but_the_classifier(system: FashionFour) -> None:
    source = build_model(
        "compact3-dropout50", num_channels=1, num_classes=2, image_size=8, densenet=make_densenet(), seed=1
    )
    with torch.no_grad():
        for tensor in source.state_dict().values():
            tensor.fill_(7)
    variant = system.variant("transfer")
    assert variant.change is not None
    fresh = build_model(
        variant.model, num_channels=1, num_classes=3, image_size=8, densenet=make_densenet(), seed=5
    )
    classifier = fresh.get_parameter("classifier.weight").clone()
    context = Context(data=make_data(), seed=5, source=source)
    state = variant.change(fresh, context).state_dict()
    assert torch.equal(state["classifier.weight"], classifier)
    taken = [tensor for name, tensor in state.items() if not name.startswith("classifier")]
    assert all(bool((tensor == 7).all()) for tensor in taken)


def test_the_source_sees_cifar_in_the_shape_of_the_target(
    system: FashionFour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GQBENCH_DATA_ROOT", raising=False)
    target = make_data()
    # Nothing is here: the even classes of the target itself, 0 and 2 of three.
    fallback = system.other_images(target, PREPARE)
    assert fallback.class_names == ("a", "c")
    kept = target.train.labels % 2 == 0
    assert torch.equal(fallback.train.images, target.train.images[kept])
    assert fallback.train.labels.tolist() == (target.train.labels[kept] // 2).tolist()
    assert fallback.checksum != target.checksum
    write_cifar(tmp_path)
    with_root = dataclasses.replace(PREPARE, root=str(tmp_path))
    other = system.other_images(target, with_root)
    assert other.name == target.name
    assert len(other.class_names) == 10
    assert other.train.images.shape[1:] == target.train.images.shape[1:]
    # One colour an image: resizing leaves it, and luma is the weighted sum (BT.601), rounded.
    wanted = np.rint(other.train.labels.numpy() * (0.299 * 20 + 0.587 * 10 + 0.114 * 5))
    assert np.array_equal(other.train.images[:, 0, 3, 3].numpy(), wanted)
    assert (other.mean, other.std) == channel_statistics(other.train.images)
    # The wrong labels that the main pipeline may ask for are not in it.
    noisy = dataclasses.replace(with_root, label_noise=LabelNoiseConfig(kind="pair", percent=45))
    assert torch.equal(system.other_images(target, noisy).train.labels, other.train.labels)
    # On CIFAR-10 itself the source is another set.
    assert system.other_images(dataclasses.replace(target, name="cifar10"), with_root).class_names == (
        "a",
        "c",
    )


def test_grey_becomes_three_equal_channels() -> None:
    images = make_data().train.images
    colour = with_channels(images, 3)
    assert colour.shape[1] == 3
    assert all(torch.equal(colour[:, channel], images[:, 0]) for channel in range(3))
    assert torch.equal(with_channels(colour, 1), images)  # the weights of luma add up to one


def test_the_accuracy_of_a_class_is_that_of_its_images() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    predictions = torch.tensor([0, 0, 1, 1, 0, 2])
    found = class_accuracies(predictions, labels, ("a", "b", "c"))
    assert found == {"a": pytest.approx(2 / 3), "b": 0.5, "c": 1.0}


def test_the_groups_are_compared_on_fashion_alone(system: FashionFour) -> None:
    def runs(first: float, second: float) -> list[dict[str, object]]:
        return [
            {
                "experiment": "run",
                "variant": name,
                "seed": seed,
                "test_accuracy": accuracy + (seed / 1000 if name == "transfer" else 0.0),
                "easier_accuracy": first,
                "upper_accuracy": second + seed / 1000,
            }
            for seed in (1, 2, 3)
            for name, accuracy in (("cnn", 0.6), ("transfer", 0.8))
        ]

    for data, first, second, answer, tests in (
        ("fashion_mnist", 0.9, 0.7, "holds", 6),
        ("fashion_mnist", 0.7, 0.9, "does not hold", 6),
        ("digits", 0.7, 0.9, "holds", 5),
    ):
        rows = claim_rows(system, data, runs(first, second))
        assert rows[0]["answer"] == answer
        assert len(rows) == 1 + tests
    assert rows[1]["test"] == "transfer over cnn"


def test_a_frozen_variant_is_trained_measured_and_counted_as_such(
    system: FashionFour, tmp_path: Path
) -> None:
    """On random images of the tiny set: weights of the frozen part stay those of the source, its bytes are not sent."""
    job = make_job(system, tmp_path)
    source = job.training(system.variant("source"), seed=1, learning_rate=0.05)
    source = dataclasses.replace(source, variant="augmented")  # random images have no other set
    trained = train_run(source)
    before = load_checkpoint(trained.folder / "best.pt").model_state
    rows = {}
    for name in ("frozen", "transfer"):
        training = job.training(
            system.variant(name), seed=1, learning_rate=0.05, source=source, source_folder=trained.folder
        )
        done = train_run(training)
        # The classifier is trained in either, the hidden layer too, the last block where it is released.
        after = load_checkpoint(done.folder / "best.pt").model_state
        moved = {n.rpartition(".")[0] for n, t in after.items() if not torch.equal(t, before[n])}
        released = (
            {"features.8", "features.9"} if done.summary["best_epoch"] > 1 and name == "transfer" else set()
        )
        assert moved == {"hidden", "classifier"} | released
        rows[name] = measure(job, Trial(training=training, trained=done))
    shapes = [(n, tuple(p.shape)) for n, p in source.build(load_once(job.data_folder)).named_parameters()]
    lower = ("features.0", "features.1", "features.4", "features.5")
    kept = {
        "frozen": [(n, s) for n, s in shapes if not n.startswith("features")],
        "transfer": [(n, s) for n, s in shapes if not n.startswith(lower)],
    }
    for name, tensors in kept.items():
        row = rows[name]
        strategy, _ = build_strategy("gq4_bucketed", job.params)
        assert row["compressed_bytes_per_step"] == strategy.pattern(tensors, 2).wire_bytes()
        assert row["num_trained_parameters"] == sum(int(np.prod(shape)) for _, shape in tensors)
        assert row["num_parameters"] == sum(int(np.prod(shape)) for _, shape in shapes)
        assert {"accuracy of 0", "accuracy of 9"} <= row.keys()
        assert "easier_accuracy" not in row
    system.draw(list(rows.values()), tmp_path / "own.svg")
    assert (tmp_path / "own.svg").stat().st_size > 0


def make_job(system: FashionFour, folder: Path) -> RelatedJob:
    job = fake.make_job(folder)
    config = load_section(PrepareConfig, "prepare", fake.PARAMS)
    prepare(dataclasses.replace(config, train_limit=120, test_limit=40), folder / "data", folder / "s.png")
    small = dataclasses.replace(system.options, epochs=4.0)
    system.options = small
    return dataclasses.replace(job, system=system)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 100}, "dropout: 100 is not allowed; allowed: a whole number of at least 1, at most 99"),
        ({"release_after": 1.0}, "release_after: 1.0 is not allowed; allowed: a number above 0, below 1"),
        ({"released": ["features"]}, "released: ['features'] is not allowed; allowed: layers inside those"),
        (
            {"augment": {"svhn": vars(AugmentConfig(crop_padding=0, flip=False, cutout=0))}},
            "augment: 'svhn' is not allowed; allowed: digits",
        ),
    ],
)
def test_a_wrong_option_is_one_line(changes: dict[str, object], message: str) -> None:
    entry = CONFIG.systems["fashion_four"]
    assert isinstance(entry, dict)
    with pytest.raises(UserError) as caught:
        build_system(dataclasses.replace(CONFIG, systems={"fashion_four": entry | changes}), "fashion_four")
    assert str(caught.value).startswith(f"related.systems.fashion_four.{message}"), str(caught.value)


def test_dropout_before_the_classifier_drops_its_share_in_training_alone() -> None:
    """Inputs of one: a unit's share of ones is 1 - rate, scaled so that the mean stays 1."""
    layer = build_model(
        "compact3-dropout25", num_channels=1, num_classes=2, image_size=8, densenet=make_densenet(), seed=1
    ).get_submodule("classifier")
    assert isinstance(layer, DroppedLinear)
    nn.init.constant_(layer.weight, 1 / layer.in_features)
    nn.init.zeros_(layer.bias)
    inputs = torch.ones(2000, layer.in_features)
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(layer.eval()(inputs), torch.ones(2000, 2))
        mean = float(layer.train()(inputs)[:, 0].mean())
    # 128,000 draws of variance rate / (1 - rate): five standard errors.
    assert mean == pytest.approx(1.0, abs=5 * (0.25 / 0.75 / inputs.numel()) ** 0.5)
    for name in ("compact3-dropout100", "resnet18-fc2-dropout50"):
        with pytest.raises(
            UserError, match=r"dropout\d+ is not allowed here; allowed: dropout1 to dropout99"
        ):
            build_model(name, num_channels=1, num_classes=2, image_size=8, densenet=make_densenet(), seed=1)


def test_even_classes_keep_their_parts() -> None:
    data: PreparedData = make_data()
    even = even_classes(data)
    assert even.sizes == {name: int((getattr(data, name).labels % 2 == 0).sum()) for name in even.sizes}
