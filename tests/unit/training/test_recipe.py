import pytest
import torch

from pipelines.errors import UserError
from pipelines.training import build_optimizer, resolve_runtime
from pipelines.training.schedule import learning_rate_at


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0.0, 0.01),
        (0.5, 0.055),
        (1.0, 0.1),
        (1.99, 0.1),
        (2.0, 0.01),
        (2.9, 0.01),
        (3.0, 0.001),
        (4.0, 0.001),
    ],
)
def test_steps_after_a_warmup(recipe, epoch, rate):
    # A handful of float64 operations: a relative error of a few 2^-53, far below 1e-12.
    assert learning_rate_at(recipe(), epoch) == pytest.approx(rate, rel=1e-12)


def test_milestones_of_the_paper(recipe):
    paper = recipe(epochs=300, warmup_epochs=0.0)
    rates = [learning_rate_at(paper, epoch) for epoch in (0, 149.99, 150, 224.99, 225, 299)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12)


def test_cosine_runs_from_the_rate_down_to_zero(recipe):
    cosine = recipe(schedule="cosine", epochs=5, warmup_epochs=1.0)
    rates = [learning_rate_at(cosine, epoch) for epoch in (1.0, 2.0, 3.0, 4.0, 5.0)]
    # 0.05 (1 + cos(pi t)) for t in 0, 1/4, 1/2, 3/4, 1
    half = 0.05 * 2**-0.5
    assert rates == pytest.approx([0.1, 0.05 + half, 0.05, 0.05 - half, 0.0], abs=1e-12)


def test_optimizer_follows_the_recipe(model, recipe):
    network = model()
    optimizer = build_optimizer(network, recipe(weight_decay=5e-4))
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (
        0.1,
        0.9,
        True,
        5e-4,
    )
    assert len(group["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", -1),
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("schedule", "linear"),
        ("milestones", (0.75, 0.5)),
        ("milestones", (0.5, 1.0)),
        ("decay_factor", 1.0),
        ("warmup_epochs", 4.0),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("seed", -1),
        ("device", "tpu"),
        ("precision", "float16"),
        ("memory_format", "nhwc"),
        ("execution", "jit"),
        ("evaluation_batch_size", 0),
    ],
)
def test_out_of_range_names_the_key(recipe, key, value):
    with pytest.raises(ValueError, match=rf"^{key}: .*is not allowed; allowed: "):
        recipe(**{key: value})


def test_nesterov_needs_momentum(recipe):
    with pytest.raises(ValueError, match="nesterov: True is not allowed"):
        recipe(momentum=0.0)


def test_auto_on_a_machine_without_cuda(recipe, model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    auto = {"device": "auto", "precision": "auto", "memory_format": "auto", "execution": "auto"}
    runtime = resolve_runtime(recipe(**auto), model())
    assert (runtime.device.type, runtime.precision) == ("cpu", "float32")
    assert (runtime.channels_last, runtime.execution) == (False, "eager")
    assert resolve_runtime(recipe(**auto), model("efficientnet_b0")).channels_last
    with pytest.raises(UserError, match=r"recipe\.device: 'cuda' is not available"):
        resolve_runtime(recipe(device="cuda"), model())


def test_auto_on_a_machine_with_cuda(recipe, model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    auto = {"device": "auto", "precision": "auto", "memory_format": "auto", "execution": "auto"}
    runtime = resolve_runtime(recipe(**auto), model(discard_rate=0.0))
    assert (runtime.device.type, runtime.precision) == ("cuda", "bfloat16")
    assert (runtime.channels_last, runtime.execution) == (True, "compiled")
    assert resolve_runtime(recipe(**auto), model(discard_rate=0.25)).execution == "eager"


def test_discarding_is_not_compiled(recipe, model):
    with pytest.raises(
        UserError, match=r"recipe\.execution: 'compiled' is not possible with densenet\.discard"
    ):
        resolve_runtime(recipe(execution="compiled"), model(discard_rate=0.25))
    assert resolve_runtime(recipe(execution="compiled"), model(discard_rate=0.0)).execution == "compiled"


def test_cuda_graphs_need_cuda(recipe, model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    full = model(discard_rate=0.0)
    assert resolve_runtime(recipe(device="cuda", execution="cuda_graphs"), full).execution == "cuda_graphs"
    with pytest.raises(UserError, match=r"recipe\.execution: 'cuda_graphs' needs recipe\.device cuda"):
        resolve_runtime(recipe(device="cpu", execution="cuda_graphs"), full)
    with pytest.raises(UserError, match=r"'cuda_graphs' is not possible with densenet\.discard_rate"):
        resolve_runtime(recipe(device="cuda", execution="cuda_graphs"), model(discard_rate=0.25))
