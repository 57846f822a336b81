"""How a stage ends: one line for the user's mistakes, a traceback for ours."""

import sys
from typing import Any

import pytest
import torch

from pipelines.entry import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    INTERRUPTED,
    hide_interrupt_traceback,
    run_stage,
)
from pipelines.errors import UserError
from pipelines.parallel.strategy import Channel
from pipelines.parallel.virtual_cluster import run_workers
from pipelines.registry import Registry
from tests.unit.parallel.compressors import Tensors, build, sgd


def test_a_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("recipe.epochs: -1 is not allowed")

    with pytest.raises(SystemExit) as caught:
        run_stage(main)
    assert caught.value.code == EXIT_USER_ERROR
    assert capsys.readouterr().err == "error: recipe.epochs: -1 is not allowed\n"


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_stage(main)
    assert caught.value.code == EXIT_INTERRUPTED
    error = capsys.readouterr().err
    assert error.startswith("interrupted: ")
    assert error.count("\n") == 1


def test_a_gradient_that_is_not_finite_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work(collectives: Any) -> None:
        model = Tensors()
        strategy = build("gq", wire_bits=4, exchange="allreduce", path="bucketed")
        strategy.attach(model, sgd(model), Channel(collectives=collectives))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("inf"))
        strategy.wait()

    def main() -> None:
        run_workers(2, work)

    with pytest.raises(SystemExit) as caught:
        run_stage(main)
    assert caught.value.code == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert error.startswith(
        "error: a gradient is not finite on at least one worker; lower recipe.learning_rate"
    )
    assert error.count("\n") == 1


@pytest.mark.parametrize("kind", [ZeroDivisionError, ValueError])
def test_a_defect_of_ours_keeps_its_traceback(kind: type[Exception]) -> None:
    def main() -> None:
        raise kind

    with pytest.raises(kind):
        run_stage(main)


def test_registry_names_known_entries_and_refuses_a_second_of_one_name() -> None:
    registry: Registry[int] = Registry("model", "baseline.models")
    registry.register("a")(1)
    registry.register("b")(2)
    assert (registry["a"], list(registry), len(registry), "b" in registry) == (1, ["a", "b"], 2, True)
    with pytest.raises(UserError, match=r"baseline\.models: 'c' is no known model; known: a, b"):
        registry["c"]
    with pytest.raises(ValueError, match="'a' is registered twice"):
        registry.register("a")(3)


def test_an_interrupt_during_the_imports_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    hide_interrupt_traceback()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == f"{INTERRUPTED}\n"
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("x"), None)
    assert "ZeroDivisionError: x" in capsys.readouterr().err
