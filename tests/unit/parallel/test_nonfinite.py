"""A gradient that is not finite on one worker stops every worker, by every method, before its step."""

import math
from typing import Any

import pytest
import torch

from horovod_gq import NonFiniteGradientError, quantizer
from horovod_gq.kernels import kernel_set
from pipelines.errors import UserError
from pipelines.parallel.strategy import Channel
from pipelines.parallel.virtual_cluster import run_workers
from tests.parallel.strategies.common import build, methods
from tests.unit.parallel.compressors import Tensors, gradients

WORKERS, BAD_RANK, BAD_STEP, LATE_STEPS = 2, 1, 4, 8
METHODS = methods()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_stops_all_workers(method: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Compiling takes longer than all the rest, and gives the same bits (tests/unit/gq).
    monkeypatch.setattr(
        quantizer, "kernel_set", lambda width, rounding, _, *rest: kernel_set(width, rounding, False, *rest)
    )
    entry = METHODS[method]
    given = gradients(BAD_STEP + LATE_STEPS, WORKERS)
    given[BAD_STEP][BAD_RANK][0][1, 2] = value

    def work(collectives: Any) -> tuple[int, bool]:
        """Return the step that raised, and whether the parameters are finite then."""
        torch.manual_seed(0)
        model, strategy = Tensors(), build(entry)
        optimizer = strategy.attach(
            model, torch.optim.SGD(model.parameters(), lr=0.1), Channel(collectives=collectives)
        )
        for number, step in enumerate(given):
            optimizer.zero_grad()
            # Through a backward pass: the fast path listens to it.
            mine = zip(model.parameters(), step[collectives.rank], strict=True)
            torch.stack([(parameter * gradient).sum() for parameter, gradient in mine]).sum().backward()  # type: ignore[no-untyped-call]
            try:
                strategy.wait()
                strategy.update()
                strategy.flush()
            except (UserError, NonFiniteGradientError):
                finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
                return number, finite
        return -1, False

    ranks = run_workers(WORKERS, work)
    # Local steps are made before the average in which the others would take part is looked at.
    local = entry.get("averaging_interval", 1) > 1
    assert [number for number, _ in ranks] == [BAD_STEP] * WORKERS
    assert all(finite for rank, (_, finite) in enumerate(ranks) if not (local and rank == BAD_RANK))
