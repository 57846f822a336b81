"""Published points, predicted: a sanity check on machines that we never saw.

Only points whose inputs are public, too: the step of one device, the links, the library. What is assumed beside them is
said in `Point.assumed`. Models are torchvision's; their gradients' times follow from the multiply-adds of each layer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from pipelines.parallel.patterns import numel
from pipelines.parallel.traces.trace import FREE, Codec, Trace
from pipelines.results import Row
from pipelines.speedup.calibration import Calibration
from pipelines.speedup.forecast import machine_for, predict_step
from pipelines.speedup.simulator import Algorithm, Network
from pipelines.torchvision_compat import torchvision

FORWARD_SHARE = 1 / 3
"""Of a step: the backward pass makes twice the multiply-adds of the forward pass."""
IMAGE_SIZE = 299
"""Pixels; of the layers' shares, which is all that counts here, little depends on it."""
MODEL_OPTIONS = {"inception_v3": {"aux_logits": False, "init_weights": False}}
"""Without the head that TensorFlow's benchmark does not train."""
TF_BENCHMARKS = "TensorFlow, docs_src/performance/benchmarks.md (May 2017), synthetic data"
HOROVOD = "Horovod, docs/benchmarks.rst: 128 servers of 4 Pascal GPUs, 25 Gbit/s RoCE"
EC2 = "TensorFlow, docs_src/performance/benchmarks.md: p2.8xlarge, 8 K80 each, parameter servers"
PCIE_BITS = 80e9
"""Between the GPUs of a host: PCIe 3.0 x16, some 10 of its 16 GB/s in practice."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One published scaling efficiency."""

    model: str
    workers: int
    workers_per_host: int
    bandwidth: float
    algorithm: Algorithm
    servers: int
    """Parameter servers, where there are any."""
    one_worker_images: float
    """Images a second of one device."""
    batch_size: int
    published_efficiency: float
    source: str
    assumed: str


def horovod_point(model: str, images: float, efficiency: float) -> Point:
    """Return a point of Horovod's picture of 512 GPUs."""
    return Point(
        model=model,
        workers=512,
        workers_per_host=4,
        bandwidth=25e9,
        algorithm=Algorithm.BEST,
        servers=1,
        one_worker_images=images,
        batch_size=64,
        published_efficiency=efficiency,
        source=f"{HOROVOD}; one P100: {TF_BENCHMARKS}",
        assumed="a P100 and a batch of 64; PCIe inside a host; 5 us of latency",
    )


def ec2_point(
    model: str, batch_size: int, workers: int, images: float, one: float, servers: int | None = None
) -> Point:
    """Return a point of TensorFlow's distributed runs; `images` and `one` are a second's of all and of one worker.

    `servers`: None is one a host.
    """
    return Point(
        model=model,
        workers=workers,
        workers_per_host=8,
        bandwidth=10e9,
        algorithm=Algorithm.PARAMETER_SERVER,
        servers=workers // 8 if servers is None else servers,
        one_worker_images=one,
        batch_size=batch_size,
        published_efficiency=images / (workers * one),
        source=EC2,
        assumed="10 Gbit/s a host (Amazon's figure for p2.8xlarge); GPUs of a host add up first; 50 us of latency",
    )


POINTS = (
    horovod_point("vgg16", 154.0, 0.68),
    horovod_point("inception_v3", 142.0, 0.90),
    *(ec2_point("resnet50", 64, n, images, 52.4) for n, images in ((16, 751), (32, 1388), (64, 2744))),
    *(ec2_point("resnet152", 32, n, images, 19.4) for n, images in ((16, 291), (32, 565))),
    ec2_point("resnet152", 32, 64, 981, 19.4, servers=4),
    *(ec2_point("inception_v3", 64, n, images, 29.7) for n, images in ((16, 459), (32, 902))),
    ec2_point("inception_v3", 64, 64, 1783, 29.7, servers=6),
)


def published_rows(calibration: Calibration) -> Iterator[Row]:
    """Yield a row a point: its inputs, the published and the predicted efficiency."""
    machine = machine_for(calibration, "nccl")
    for point in POINTS:
        trace = layered_trace(point.model, point.batch_size / point.one_worker_images)
        network = Network(
            workers=point.workers,
            bandwidth=point.bandwidth,
            latency=5e-6 if point.algorithm is Algorithm.BEST else 50e-6,
            workers_per_host=point.workers_per_host,
            intra_bandwidth=PCIE_BITS,
            algorithm=point.algorithm,
            servers=point.servers,
        )
        step = predict_step(trace, "sdp", network, machine)[0]
        yield {
            "model": point.model,
            "workers": point.workers,
            "published_efficiency": point.published_efficiency,
            "predicted_efficiency": trace.step_seconds / step,
            "gradient_bytes": 4 * sum(numel(shape) for _, shape in trace.tensors),
            "one_worker_seconds": trace.step_seconds,
            "source": point.source,
            "assumed": point.assumed,
        }


def layered_trace(model: str, step_seconds: float) -> Trace:
    """Return the trace of a torchvision model whose layers take time in proportion to their multiply-adds."""
    with torch.device("meta"):
        options = MODEL_OPTIONS.get(model, {})
        network = getattr(torchvision.models, model)(**options).eval()
    work = multiply_adds(network)
    names = [(name, tuple(p.shape)) for name, p in network.named_parameters()]
    total, before = sum(work.values()), 0.0
    needed = {}
    for module, amount in work.items():
        needed[module] = before / total
        before += amount
    # A tensor of a layer without multiply-adds of its own belongs to the layer before it.
    starts, last = [], 0.0
    for name, _ in names:
        last = needed.get(name.rpartition(".")[0], last)
        starts.append(last)
    backward = (1 - FORWARD_SHARE) * step_seconds
    return Trace(
        model=model,
        batch_size=0,
        tensors=tuple(names),
        needed_seconds=tuple(FORWARD_SHARE * step_seconds * start for start in starts),
        ready_seconds=tuple(backward * (1 - start) for start in starts),
        forward_seconds=FORWARD_SHARE * step_seconds,
        backward_seconds=backward,
        update_seconds=0.0,
        codecs={"sdp": Codec(**{**vars(FREE), "entry": {"strategy": "sdp"}})},
        provenance={},
    )


def multiply_adds(network: nn.Module) -> dict[str, float]:
    """Return the multiply-adds of each convolution and linear layer, in the order of a forward pass, by module name."""
    found: dict[str, float] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):

            def count(layer: nn.Module, _: object, output: torch.Tensor, *, key: str = name) -> None:
                weight = layer.weight
                assert isinstance(weight, torch.Tensor)
                found[key] = float(output.numel() * math.prod(weight.shape[1:]))

            handles.append(module.register_forward_hook(count))
    network(torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta"))
    for handle in handles:
        handle.remove()
    return found
