"""Trains every method of params.yaml on two ranks, all in one process and in turn, and writes what happened.

Started by test_strategies.py through horovodrun; rank 0 writes the JSON file that it is given.
"""

import gc
import io
import json
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import horovod.torch as hvd
import horovod.torch.optimizer
import torch
from torch.nn.functional import cross_entropy

from pipelines.parallel.run.replicas import parameter_digest
from pipelines.parallel.strategy import Channel
from tests.parallel.strategies.common import (
    NUM_STEPS,
    SNAPSHOT_STEP,
    batch_of,
    build,
    load_images,
    make_model,
    make_optimizer,
    methods,
)

DATA = load_images()


class Counter:
    """Counts the bytes that are handed to Horovod's collectives, by wrapping them."""

    def __init__(self) -> None:
        self.num_bytes = 0
        for module, name in (
            (hvd, "allreduce_async_"),
            (hvd, "allgather_async"),
            (hvd, "alltoall_async"),
            (horovod.torch.optimizer, "allreduce_async_"),
            (horovod.torch.optimizer, "grouped_allreduce_async_"),
        ):
            setattr(module, name, self.wrap(getattr(module, name)))

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(given: Any, *args: Any, **kwargs: Any) -> Any:
            tensors = [given] if isinstance(given, torch.Tensor) else given
            self.num_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            return function(given, *args, **kwargs)

        return counted


class Run:
    """One method with its own replica."""

    def __init__(self, method: str, entry: dict[str, Any], scope: str, seed: int) -> None:
        self.method = method
        self.interval = entry.get("averaging_interval", 1)
        self.model = make_model(seed)
        hvd.broadcast_parameters(self.model.state_dict(), root_rank=0)
        self.strategy = build(entry)
        self.optimizer = self.strategy.attach(
            self.model, make_optimizer(self.model), Channel(scope=f"{scope}.{method}.")
        )
        self.losses: list[float] = []
        self.digests: list[str] = []
        self.reported: list[int] = []
        self.counted: list[int] = []
        self.negative_costs = 0

    def step(self, step: int, counter: Counter) -> None:
        images, labels = batch_of(DATA, step, hvd.rank(), hvd.size())
        before = counter.num_bytes
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(images), labels)
        loss.backward()
        self.strategy.wait()
        self.strategy.update()
        cost = self.strategy.step_cost()
        self.losses.append(float(loss.detach()))
        self.reported.append(cost.wire_bytes)
        self.counted.append(counter.num_bytes - before)
        seconds = (cost.encode_seconds, cost.decode_seconds, cost.communication_seconds)
        self.negative_costs += sum(part < 0.0 for part in seconds)
        if "layerwise" in self.method:
            self.strategy.flush()
        if (step + 1) % self.interval == 0:
            self.digests.append(parameter_digest(self.model))

    def save(self) -> bytes:
        buffer = io.BytesIO()
        states = [self.model.state_dict(), self.optimizer.state_dict(), self.strategy.state_dict()]
        torch.save(states, buffer)
        return buffer.getvalue()

    def load(self, saved: bytes) -> None:
        model, optimizer, strategy = torch.load(io.BytesIO(saved), weights_only=True)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.strategy.load_state_dict(strategy)

    def report(self) -> dict[str, Any]:
        """What all ranks saw (a collective)."""
        digests = hvd.allgather_object(self.digests)
        return {
            "losses": torch.tensor(hvd.allgather_object(self.losses)).double().mean(0).tolist(),
            "replicas_agree": [len(set(step)) == 1 for step in zip(*digests, strict=True)],
            "digests": self.digests,
            "reported": hvd.allgather_object(self.reported),
            "counted": hvd.allgather_object(self.counted),
            "room": getattr(self.strategy, "room", None),
            "choices": hvd.allgather_object(getattr(self.strategy, "choices", [])),
            "negative_costs": sum(hvd.allgather_object(self.negative_costs)),
        }


def main() -> None:
    hvd.init()
    assert hvd.size() == 2
    torch.set_num_threads(1)
    counter = Counter()
    entries = methods()
    straight = {method: Run(method, entry, "a", seed=1) for method, entry in entries.items()}
    saved = {}
    for step in range(NUM_STEPS):
        for run in straight.values():
            run.step(step, counter)
        if step + 1 == SNAPSHOT_STEP:
            saved = {method: run.save() for method, run in straight.items()}
    results: dict[str, Any] = {}
    for method, entry in entries.items():
        # Another first model: all that matters must come from the saved states. And by itself, not in turn.
        resumed = Run(method, entry, "b", seed=2)
        resumed.load(saved[method])
        for step in range(SNAPSHOT_STEP, NUM_STEPS):
            resumed.step(step, counter)
        straight[method].strategy.flush()
        straight[method].digests.append(parameter_digest(straight[method].model))
        results[method] = {"straight": straight[method].report(), "resumed": resumed.report()}
        left = weakref.ref(resumed.model)
        del resumed
        gc.collect()
        results[method]["released"] = left() is None
    if hvd.rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(results))
    hvd.shutdown()


if __name__ == "__main__":
    main()
