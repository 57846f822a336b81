"""What a training step costs: its time against others in the same process, and its peak memory."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.data import PreparedData, load_prepared
from pipelines.experiments.study.job import Training
from pipelines.experiments.study.runs.pool import num_cores, run_all
from pipelines.models.blocks import NUM_BLOCKS, counted_depth
from pipelines.results import Row
from pipelines.training import RecipeConfig, build_optimizer, compute_gradients, resolve_runtime

WARMUP_ROUNDS = 2
STEP_ROUNDS = 15
STEP_SEED = 0  # of the images that steps are measured on; their values do not matter

Step = Callable[[], None]


def make_step(model: nn.Module, recipe: RecipeConfig, images: Tensor, labels: Tensor) -> Step:
    """Place `model` as the recipe says; return a function that makes a training step of it and waits for its end.

    images: float32 [b, c, h, w], labels: int64 [b], on the CPU. Raises UserError where the machine lacks what
    the recipe asks for.
    """
    runtime = resolve_runtime(recipe, model)
    runtime.place(model).train()
    forward = runtime.forward_of(model)
    optimizer = build_optimizer(model, recipe)
    inputs, targets = runtime.images(images.to(runtime.device)), labels.to(runtime.device)

    def step() -> None:
        compute_gradients(forward, optimizer, inputs, targets, runtime.autocast())
        optimizer.step()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def step_costs(trainings: Mapping[str, Training], data: PreparedData) -> dict[str, Row]:
    """Return how long a training step of each takes; they make steps in turns in this process.

    step_seconds_median and step_over_reference, the median over the rounds of the ratio to the first one's step, both
    with step_threads threads.
    """
    seconds = timed_rounds({name: step_of(one, data) for name, one in trainings.items()}, STEP_ROUNDS)
    reference = next(iter(seconds.values()), [])
    return {
        name: {
            "step_seconds_median": statistics.median(mine),
            "step_over_reference": statistics.median(a / b for a, b in zip(mine, reference, strict=True)),
            "step_threads": torch.get_num_threads(),
        }
        for name, mine in seconds.items()
    }


def timed_rounds(steps: Mapping[str, Step], num_rounds: int) -> dict[str, list[float]]:
    """Return the seconds of `num_rounds` steps of each, after a warm-up.

    A round makes one step of each, so that a drift of the machine is the same for all.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(WARMUP_ROUNDS + num_rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if index >= WARMUP_ROUNDS:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def step_of(training: Training, data: PreparedData) -> Step:
    """Return the training step of a run at the recipe's batch size, on random images of the data's shape."""
    generator = torch.Generator().manual_seed(STEP_SEED)
    size = training.recipe.batch_size
    shape = (size, data.num_channels, data.image_size, data.image_size)
    images = torch.randn(shape, generator=generator)
    labels = torch.randint(0, data.num_classes, (size,), generator=generator)
    return make_step(training.build(data), training.recipe, images, labels)


def peak_memories(trainings: Sequence[Training]) -> list[int]:
    """Return the `peak_memory_bytes` of each, in a process of its own."""
    return run_all(peak_memory_bytes, trainings, num_processes=num_cores(), description="memory", fresh=True)


def peak_memory_bytes(training: Training) -> int:
    """Return what the first training step takes on top of model and data; to be called in a fresh process.

    What the first step of any model takes for the process, some 20 MiB of thread pools, kernels and allocator,
    is taken before by a step of `_smallest`; see `peak_of` for the rest.
    """
    data = load_prepared(training.data_folder)
    step_of(_smallest(training), data)()
    return peak_of(
        step_of(training, data), on_gpu=torch.cuda.is_available() and training.recipe.device != "cpu"
    )


def peak_of(step: Step, *, on_gpu: bool) -> int:
    """Return how many bytes more than before are in use at the peak of `step`, which is called once.

    On a GPU torch's allocated memory; else the resident memory of the process, whose peak Linux is asked to
    forget first. Where that is not permitted the peak is that since the start of the process, and the result
    too large by as much as it had in use before and has given back.
    """
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM to VmRSS
    resident = _memory_bytes("VmRSS")
    step()
    return max(0, _memory_bytes("VmHWM") - resident)


def _smallest(training: Training) -> Training:
    """Return the run for two images of a DenseNet of the same section, with one layer of growth rate 1 a block."""
    densenet = replace(training.densenet, growth_rate=1, initial_width=1, blocks={})
    depth = counted_depth((1,) * NUM_BLOCKS, bottleneck=densenet.bottleneck)
    recipe = replace(training.recipe, batch_size=2)
    return replace(training, model=f"densenet{depth}", densenet=densenet, recipe=recipe)


def _memory_bytes(field: str) -> int:
    """Read a size of this process from Linux: VmRSS, the resident memory, or VmHWM, its peak.

    Not from getrusage, whose peak begins with that of the process which started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values[field].split()[0]) * 1024  # "123456 kB", by which KiB are meant
