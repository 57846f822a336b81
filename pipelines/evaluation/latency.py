"""How long a model takes for one image."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Latency:
    """Times of single classifications."""

    median_seconds: float
    iqr_seconds: float
    """Distance between the first and the third quartile."""


def measure_latency(model: nn.Module, image: torch.Tensor, *, num_warmup: int, num_repeats: int) -> Latency:
    """Time `model` (in evaluation mode) on `image` float32 [1, c, h, w], both on one device.

    `num_warmup` passes run first, outside the clock; a GPU's queue is empty at both ends of each timing.
    """
    seconds = []
    with torch.inference_mode():
        for repeat in range(num_warmup + num_repeats):
            _wait(image.device)
            start = time.perf_counter()
            model(image)
            _wait(image.device)
            if repeat >= num_warmup:
                seconds.append(time.perf_counter() - start)
    first, median, third = np.percentile(seconds, [25, 50, 75])
    return Latency(float(median), float(third - first))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
