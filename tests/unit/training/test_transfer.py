"""Transfer learning: what is taken of a checkpoint, what stays frozen until when, and a resumed run is the same."""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from horovod_gq.collectives import Collectives
from pipelines.config import load_yaml
from pipelines.data import PreparedData, Split
from pipelines.errors import UserError
from pipelines.models import build_model, spec_of
from pipelines.models.classifier import classifier_of
from pipelines.parallel.run.replicas import average_buffers
from pipelines.parallel.step import parallel_step
from pipelines.parallel.strategies import build_strategy
from pipelines.parallel.strategy import STRATEGIES, Channel
from pipelines.parallel.virtual_cluster import run_workers
from pipelines.training import (
    RecipeConfig,
    StartConfig,
    build_optimizer,
    load_checkpoint,
    plan_freezing,
    start_model,
    train,
    training_mode,
)
from pipelines.training import job as training_job
from tests.configs import make_densenet
from tests.imports import ROOT
from tests.unit.training.conftest import DENSENET, RecordingTracker, make_data, make_model
from tests.unit.training.test_loop import states_equal, without_time

Recipe = Callable[..., RecipeConfig]
# Released after two of four epochs; the rest of the features never.
PARTLY: dict[str, float | None] = {"all": None, "blocks.2": 0.5, "head": 0.5}


def run(model: nn.Module, data: PreparedData, recipe: RecipeConfig, folder: Path, stop: int | None = None):
    tracker = RecordingTracker(stop)
    return train(model, data, recipe, folder=folder, tracker=tracker, description="test")


def state_after(epoch: int, data: PreparedData, recipe: RecipeConfig, folder: Path) -> dict[str, Tensor]:
    with pytest.raises(KeyboardInterrupt):
        run(make_model(), data, recipe, folder, stop=epoch)
    return load_checkpoint(folder / "last.pt").model_state


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the layers, two names deep, of which a tensor has changed."""
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    return {".".join(name.split(".")[:2]) for name in changed}


def test_frozen_layers_keep_weights_and_statistics_until_they_are_released(
    data: PreparedData, recipe: Recipe, tmp_path: Path
) -> None:
    settings = recipe(frozen=PARTLY)
    start = {name: tensor.clone() for name, tensor in make_model().state_dict().items()}
    frozen = state_after(2, data, settings, tmp_path)
    assert moved(start, frozen) == {"classifier.weight", "classifier.bias"}
    # The interrupted run goes on from there; its last epochs train the last block, its batch norms included.
    run(make_model(), data, settings, tmp_path)
    released = load_checkpoint(tmp_path / "last.pt").model_state
    assert moved(start, released) == {
        *("blocks.2", "head.scale", "head.shift"),
        *("classifier.weight", "classifier.bias"),
    }
    assert not torch.equal(
        released["blocks.2.normalise.running_var"], start["blocks.2.normalise.running_var"]
    )


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_resume_is_exact_on_both_sides_of_a_release(
    data: PreparedData, recipe: Recipe, tmp_path: Path, interrupted_after: int
) -> None:
    settings = recipe(frozen=PARTLY)
    whole = run(make_model(), data, settings, tmp_path / "whole")
    state_after(interrupted_after, data, settings, tmp_path / "parts")
    resumed = run(make_model(), data, settings, tmp_path / "parts")
    assert without_time(resumed.history) == without_time(whole.history)
    for name in ("best.pt", "last.pt"):
        assert states_equal(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_the_parts_of_the_epochs_are_whole_ones(recipe: Recipe) -> None:
    model = make_model()
    releases = {}
    for epochs in (1, 2, 3, 5, 10):
        parts: dict[str, float | None] = {"stem": 0.5, "blocks.0": 0.01, "blocks": 0.99}
        settings = recipe(epochs=epochs, warmup_epochs=0.0, frozen=parts)
        plan = plan_freezing(model, settings).releases
        layers = ("stem.weight", "blocks.0.layers.0.conv.weight", "blocks.1.layers.0.conv.weight")
        releases[epochs] = [plan[name] for name in layers]
    assert releases == {
        1: [None, None, None],  # the only epoch is frozen
        2: [1, 1, None],
        3: [2, 1, None],
        5: [3, 1, None],
        10: [5, 1, None],
    }


def test_all_is_every_layer_but_the_classifier(recipe: Recipe) -> None:
    for name, classifier in (
        ("densenet10", "classifier"),
        ("compact3", "classifier"),
        ("resnet18-fc2", "fc"),
    ):
        model = build_model(
            name, num_channels=1, num_classes=3, image_size=8, densenet=make_densenet(), seed=1
        )
        plan = plan_freezing(model, recipe(frozen={"all": None}))
        plan.apply(model, 0)
        trained = {parameter_name for parameter_name, p in model.named_parameters() if p.requires_grad}
        assert classifier_of(model) == classifier
        assert trained == {n for n, _ in model.named_parameters() if n.startswith(f"{classifier}.")}
        training_mode(model)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert not any(norm.training for norm in norms)
        assert model.training  # its dropout before the classifier is a trained layer's


@pytest.fixture
def source(data: PreparedData, recipe: Recipe, tmp_path: Path) -> StartConfig:
    """A short training, as a start."""
    result = run(make_model(), data, recipe(epochs=2), tmp_path / "source")
    return start_of(result.best_checkpoint)


def start_of(path: Path) -> StartConfig:
    return StartConfig(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def with_classes(data: PreparedData, number: int) -> PreparedData:
    names = tuple(f"class {index}" for index in range(number))
    return dataclasses.replace(data, class_names=names)


def test_everything_but_the_classifier_is_taken(
    source: StartConfig, data: PreparedData, recipe: Recipe
) -> None:
    weights = load_checkpoint(Path(source.path)).model_state
    for classes in (3, 5):
        fresh = make_model()
        model = start_model(
            with_classes(data, classes), "densenet10", DENSENET, recipe(start_from=source, frozen=PARTLY)
        )
        state = model.state_dict()
        assert moved(weights, {k: v for k, v in state.items() if "classifier" not in k}) == set()
        assert not torch.equal(state["classifier.weight"], weights["classifier.weight"][:classes])
        assert spec_of(model).num_classes == classes
    assert torch.equal(fresh.state_dict()["classifier.weight"].isfinite().all(), torch.tensor(True))


def test_a_deeper_network_takes_the_layers_that_it_shares(
    source: StartConfig, data: PreparedData, recipe: Recipe
) -> None:
    weights = load_checkpoint(Path(source.path)).model_state
    model = start_model(data, "densenet16", DENSENET, recipe(start_from=source))
    state = model.state_dict()
    assert torch.equal(state["blocks.0.layers.0.conv.weight"], weights["blocks.0.layers.0.conv.weight"])
    with pytest.raises(
        UserError, match=r"recipe\.frozen: blocks\.0\.layers\.1\..* of densenet16 has no weights in a dens"
    ):
        start_model(data, "densenet16", DENSENET, recipe(start_from=source, frozen={"blocks.0": None}))


def test_a_start_that_does_not_fit_is_one_line(
    source: StartConfig, data: PreparedData, recipe: Recipe, tmp_path: Path
) -> None:
    colour = dataclasses.replace(
        data, train=Split(data.train.images.expand(-1, 3, -1, -1), data.train.labels)
    )
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"x" * 100)
    for images, name, changes, message in (
        (colour, "densenet10", {"start_from": source}, "for images of 1 channels does not fit .* have 3"),
        (data, "vgg16_bn", {"start_from": source}, "a densenet10 has no weights that fit vgg16_bn"),
        (data, "densenet10", {"frozen": {"all": None}}, r"recipe\.frozen: \['all'\] is not allowed without"),
        (
            data,
            "densenet10",
            {"start_from": dataclasses.replace(source, sha256="0" * 64)},
            rf"start_from\.sha256: '0.*' is not that of .*best\.pt, which is {source.sha256}",
        ),
        (data, "densenet10", {"start_from": StartConfig(path="no.pt", sha256=None)}, r"no\.pt: cannot be"),
        (data, "densenet10", {"start_from": start_of(damaged)}, r"damaged\.pt: is damaged|has no checksum"),
        (data, "densenet10", {"start_from": source, "frozen": {"blok": None}}, r"'blok' is no layer of thi"),
        (data, "densenet10", {"start_from": source, "frozen": {"all": 0.5, "classifier": 0.5}}, "nothing to"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            start_model(images, name, DENSENET, recipe(**changes))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frozen": {"stem": 1.0}}, r"frozen\.stem: 1\.0 is not allowed; allowed: null"),
        ({"frozen": {"stem": 0.0}}, r"frozen\.stem: 0\.0 is not allowed; allowed: null"),
    ],
)
def test_a_part_out_of_range_names_the_layer(
    recipe: Recipe, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**changes)


def test_a_checksum_has_64_digits() -> None:
    with pytest.raises(UserError, match="sha256: 'abc' is not allowed; allowed: null or 64"):
        StartConfig(path="best.pt", sha256="abc")


def test_a_run_is_named_after_the_weights_and_not_after_their_place(
    source: StartConfig, data: PreparedData, recipe: Recipe, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "copy.pt"
    shutil.copy(source.path, elsewhere)
    here, there = recipe(start_from=source), recipe(start_from=start_of(elsewhere))
    assert here != there
    assert here.identity() == there.identity() != recipe().identity()
    with pytest.raises(KeyboardInterrupt):
        run(start_model(data, "densenet10", DENSENET, here), data, here, tmp_path / "run", stop=3)
    tracker = RecordingTracker()
    train(make_model(), data, there, folder=tmp_path / "run", tracker=tracker, description="test")
    assert [step for step, _ in tracker.metrics] == [4]


def test_a_training_does_not_write_over_its_start(recipe: Recipe, tmp_path: Path) -> None:
    inside = recipe(start_from=StartConfig(path=str(tmp_path / "densenet10/best.pt"), sha256=None))
    with pytest.raises(UserError, match="is what the training of densenet10 itself writes; copy it"):
        training_job.check_place(inside, tmp_path / "densenet10")
    training_job.check_place(inside, tmp_path / "densenet16")


METHODS = load_yaml(ROOT / "params.yaml")["methods"]


@pytest.mark.parametrize(
    "method",
    [
        *("sdp", "gq4", "gq4_bucketed", "gq4_layerwise", "gq4_interval", "gq_lowrank", "ssp", "auto"),
        *("powersgd", "topk", "dgc", "terngrad", "signum"),
    ],
)
def test_two_workers_send_nothing_of_frozen_layers(method: str, recipe: Recipe) -> None:
    """What is handed to the collectives is the pattern of the trained tensors; frozen ones stay, replicas agree."""
    settings = recipe(frozen={"all": None, "blocks.2": None, "head": 0.5})
    images, labels = make_data().train.images[:32].float() / 64, make_data().train.labels[:32]

    def work(collectives: Collectives) -> tuple[dict[str, Tensor], int, float]:
        model = make_models.pop()
        plan_freezing(model, settings).apply(model, 0)
        training_mode(model)
        strategy, _ = build_strategy(method, ROOT / "params.yaml")
        channel = Channel(collectives=collectives)
        optimizer = strategy.attach(model, build_optimizer(model, settings), channel)
        mine = slice(collectives.rank, None, 2)
        for step in range(8):
            strategy.step_cost()
            parallel_step(model, optimizer, strategy, images[mine], labels[mine], last=step == 7)
        sent = strategy.step_cost().wire_bytes
        average_buffers(model, collectives)
        tensors = [(name, tuple(p.shape)) for name, p in model.named_parameters() if p.requires_grad]
        assert [name for name, _ in tensors] == ["classifier.weight", "classifier.bias"]
        exchanges = strategy.pattern(tensors, 2)
        return model.state_dict(), sent, exchanges.wire_bytes() * exchanges.interval

    start = make_model().state_dict()
    make_models = [make_model(), make_model()]  # initial weights come from torch's one global generator
    (first, sent, expected), (second, _, _) = run_workers(2, work)
    assert moved(start, first) == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    stock = METHODS[method].get("path") == "stock"  # its sums a tensor are Horovod's alone
    if (
        method != "auto"
        and not stock
        and not STRATEGIES[METHODS[method]["strategy"]].bytes_depend_on_gradients
    ):
        assert sent == expected


@pytest.mark.parametrize(
    "frozen", [{"all": None}, {"all": None, "head": 0.5, "blocks.1.transition": 0.5, "blocks.2": 0.5}]
)
def test_the_gradients_above_frozen_blocks_are_those_of_the_whole_network(
    frozen: dict[str, float | None], recipe: Recipe
) -> None:
    """Shared feature maps end the backward pass at a frozen block; concatenated ones are autograd's own."""
    images, labels = make_data().train.images[:16].float() / 64, make_data().train.labels[:16]
    found = []
    for efficient in (True, False):
        model = make_model(discard_rate=0.0, dropout=0.0, memory_efficient=efficient)
        plan_freezing(model, recipe(frozen=frozen)).apply(model, epoch=3)
        training_mode(model)
        below: list[Tensor] = []
        model.get_submodule("blocks.0").register_forward_hook(
            lambda _module, _inputs, features, seen=below: seen.append(
                features._token if efficient else features._maps[0]  # noqa: B023
            )
        )
        nn.functional.cross_entropy(model(images), labels).backward()
        assert not below[0].requires_grad
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    shared, concatenated = found
    assert shared.keys() == concatenated.keys()
    for name, gradient in shared.items():
        # float32 sums over 16 images of 8 x 8 pixels in another order
        torch.testing.assert_close(gradient, concatenated[name], rtol=1e-4, atol=1e-6, msg=name)
