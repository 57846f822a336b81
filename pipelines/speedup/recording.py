"""Record the committed traces: the suite's models with every method, at the batch and image size of the sweep."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pipelines.config import load_section, load_yaml
from pipelines.models import build_model
from pipelines.models.config import DenseNetConfig
from pipelines.parallel import strategies  # noqa: F401  registers the strategies
from pipelines.parallel.traces.codecs import Batch
from pipelines.parallel.traces.recorder import record_trace
from pipelines.parallel.traces.trace import Trace
from pipelines.training import RecipeConfig, build_optimizer

TRACES = Path(__file__).parent / "data" / "traces"
CHANNELS, CLASSES, PIXELS = 1, 10, 8
"""Shape of the digits, on which the sweep trains; what a step costs does not depend on what they show."""
NUM_BATCHES = 8
SKIPPED = ("auto",)
"""Its buckets are coded as those of the methods that it chooses among."""
WARMUP_STEPS, STEPS = 4, 9


def record_suite(
    params: Path, model_name: str, batch_size: int, chosen: Collection[str] | None = None
) -> Trace:
    """Record one model with all methods of the section `methods`, or those `chosen`, on one thread."""
    recipe = load_section(RecipeConfig, "recipe", params)
    methods = {
        key: entry
        for key, entry in load_yaml(params)["methods"].items()
        if key not in SKIPPED and (chosen is None or key in chosen)
    }
    torch.set_num_threads(1)
    model = build_model(
        model_name,
        num_channels=CHANNELS,
        num_classes=CLASSES,
        image_size=PIXELS,
        densenet=load_section(DenseNetConfig, "densenet", params),
        seed=recipe.seed,
    )
    with counting_processor_time():
        return record_trace(
            model_name,
            model,
            random_batches(batch_size),
            lambda replica: build_optimizer(replica, recipe),
            methods,
            warmup_steps=WARMUP_STEPS,
            steps=STEPS,
        )


@contextmanager
def counting_processor_time() -> Iterator[None]:
    """Make the clock of this process count its thread's processor time, so that a busy machine does not matter.

    Right for one thread on a CPU alone: an autograd engine without GPU runs the backward pass in its caller's thread.
    """
    wall_clock = time.perf_counter
    time.perf_counter = time.thread_time
    try:
        yield
    finally:
        time.perf_counter = wall_clock


def random_batches(batch_size: int) -> list[Batch]:
    """Return a few batches of noise with labels, drawn from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(batch_size, CHANNELS, PIXELS, PIXELS, generator=generator),
            torch.randint(CLASSES, (batch_size,), generator=generator),
        )
        for _ in range(NUM_BATCHES)
    ]
