"""Guards: canary, loading a state, missing Horovod or compiler, no host synchronisation, no large allocation."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from horovod_gq import GQ, DistributedOptimizer, kernels
from horovod_gq.buckets import build_buckets
from horovod_gq.codec import BucketCodec
from horovod_gq.config import GQConfig
from horovod_gq.kernels import build_kernel_set, kernel_set
from horovod_gq.layout import BucketLayout
from horovod_gq.packing import num_planes
from horovod_gq.scale import check_canary, settings_canary
from horovod_gq.timing import Timings

CPU = torch.device("cpu")


def steady_codec(
    shape: tuple[int, ...], compiled: bool, workers: int = 2
) -> tuple[BucketCodec, torch.Tensor]:
    """A codec past its calibration, and gradients for it."""
    layout = BucketLayout([("w", shape)], num_planes(4, 1))
    config = GQConfig(wire_bits=4, compile_kernels=compiled)
    codec = BucketCodec(layout, config, 4, workers=workers, rank=0, device=CPU)
    flat = torch.randn(layout.num_rows, 128)
    codec.decode(codec.encode(flat) * workers, torch.empty_like(flat))
    return codec, flat


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64, 4096])
def test_canary_accepts_equal_settings_for_any_number_of_workers(workers: int) -> None:
    canary = settings_canary(b"\xff\xff\xff")
    check_canary(canary * workers, workers, "here")


def test_canary_detects_what_differs() -> None:
    one, other = settings_canary(b"abc"), settings_canary(b"abd")
    with pytest.raises(ValueError, match="different settings"):
        check_canary(one + other, 2, "here")
    with pytest.raises(ValueError, match=r"use op=hvd\.Sum"):
        check_canary((one + one) / 2, 2, "here")
    with pytest.raises(ValueError, match="counts 3 ranks where 2"):
        check_canary(3 * one, 2, "here")


def test_header_detects_an_averaged_or_incomplete_sum() -> None:
    for factor in (1, 3):
        codec, flat = steady_codec((64, 64), compiled=False)
        codec.decode(codec.encode(flat) * factor, torch.empty_like(flat))
        with pytest.raises(ValueError, match="gradient of w"):
            codec.check_status()


def test_steady_state_never_waits_for_the_device() -> None:
    """Reading a value on the host is `_local_scalar_dense`; masks with unknown sizes are `nonzero`."""

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    codec, flat = steady_codec((64, 64), compiled=False)
    out = torch.empty_like(flat)
    with Recorder() as recorder:
        message = codec.encode(flat)
        message.mul_(2)
        codec.decode(message, out)
    assert len(recorder.names) > 10
    assert not [name for name in recorder.names if "_local_scalar_dense" in name or "nonzero" in name]
    with recorder:
        codec.check_status()  # the one read a step


def test_steady_state_allocates_nothing_of_the_size_of_the_bucket() -> None:
    codec, flat = steady_codec((1024, 1024), compiled=True)
    out = torch.empty_like(flat)
    for _ in range(2):
        codec.decode(codec.encode(flat).mul_(2), out)
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        codec.decode(codec.encode(flat).mul_(2), out)
    largest = max(event.cpu_memory_usage for event in profile.function_events)
    # One value a row of 128 may be allocated (the row sums), nothing larger.
    assert 0 < largest <= flat.numel() * 4 // 128


def test_state_of_other_settings_or_models_is_refused() -> None:
    model = nn.Linear(64, 64)
    compression = GQ(wire_bits=4, workers=2).bind(model)
    state = {
        **compression.state_dict(),
        "tensors": {
            "weight": {"residual": torch.zeros(64, 64), "step_index": 9, "num_steps": 3, "wire_bits": 4}
        },
    }
    compression.load_state_dict(state)
    with pytest.raises(ValueError, match="saved with"):
        GQ(wire_bits=8, workers=2).bind(model).load_state_dict(state)
    with pytest.raises(ValueError, match=r"missing .*weight"):
        GQ(wire_bits=4, workers=2).bind(nn.Sequential(model)).load_state_dict(state)
    with pytest.raises(ValueError, match="shape and width"):
        GQ(wire_bits=4, workers=2).bind(nn.Linear(32, 64)).load_state_dict(state)
    with pytest.raises(ValueError, match="'config' is missing"):
        compression.load_state_dict({})


def test_a_state_survives_torch_save(tmp_path: Any) -> None:
    compression = GQ(wire_bits=4, workers=2, overrides=(("a", 8),)).bind(nn.Linear(64, 64))
    torch.save(compression.state_dict(), tmp_path / "gq.pt")
    compression.load_state_dict(torch.load(tmp_path / "gq.pt", weights_only=True))


def test_missing_horovod_is_an_error_at_construction_with_a_hint() -> None:
    """In a process where horovod cannot be imported, the rest of the package works."""
    program = """
import sys
sys.modules["horovod"] = sys.modules["horovod.torch"] = None
import torch
import horovod_gq, horovod_gq.ddp, horovod_gq.virtual
model = torch.nn.Linear(64, 64)
horovod_gq.virtual.VirtualCluster(model, 2, compile_kernels=False)
try:
    horovod_gq.DistributedOptimizer(torch.optim.SGD(model.parameters(), lr=1.0), model)
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install horovod" in result.stdout


def test_without_a_compiler_kernels_run_eagerly_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nlong explanation")

    monkeypatch.setattr(kernels, "compile_kernel", broken)
    build_kernel_set.cache_clear()
    with pytest.warns(UserWarning, match="uncompiled .*no working C"):
        first = kernel_set(4, "nearest", True, "cpu")
    assert not first.compiled
    assert kernel_set(4, "nearest", True, "cpu") is first
    build_kernel_set.cache_clear()


def test_workers_that_are_threads_may_compile_at_the_same_time() -> None:
    """One row alone is a variant of its own, which is compiled when it first comes."""
    workers = 4
    build_kernel_set.cache_clear()
    together = threading.Barrier(workers)

    def work(rank: int) -> torch.Tensor:
        together.wait()
        found = []
        for rows in (4, 1, 3):
            low, high = torch.empty(rows, 128), torch.full((rows, 128), float(0x99))
            kernel_set(4, "nearest", True, "cpu").unpack(low, high, torch.ones(rows), torch.ones(rows))
            found.append(low.sum() + high.sum())
        return torch.stack(found)

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(work, range(workers)))
    # Each half of the byte 0x99 is 9, one above the offset of 8.
    expected = torch.tensor([4.0, 1.0, 3.0]) * 2 * 128
    assert all(torch.equal(result, expected) for result in results)


def test_many_small_tensors_need_few_collectives() -> None:
    """As many tensors and values as DenseNet-200 (599, 2.6 million)."""
    matrices = [(f"conv{i}.weight", nn.Parameter(torch.zeros(12, 9, 115))) for i in range(200)]
    vectors = [(f"norm{i}", nn.Parameter(torch.zeros(300))) for i in range(399)]
    config = GQConfig(wire_bits=4, compile_kernels=False)
    two: Any = type("Two", (), {"rank": 0, "workers": 2})()
    assert len(build_buckets(matrices + vectors, config, two, Timings())) < 12


class OneWorker:
    """Collectives of a single rank."""

    rank, workers = 0, 1

    def start_all_gather(self, tensor: torch.Tensor, name: str) -> Any:
        result = tensor[None]
        return type("Done", (), {"wait": lambda self: result})()


def test_one_worker_neither_quantizes_nor_sends() -> None:
    torch.manual_seed(0)
    model, plain = nn.Linear(64, 64), nn.Linear(64, 64)
    plain.load_state_dict(model.state_dict())
    optimizer: Any = DistributedOptimizer(
        torch.optim.SGD(model.parameters(), lr=0.1),
        model,
        wire_bits=2,
        collectives=OneWorker(),  # type: ignore[arg-type]
    )
    for net, each in ((model, optimizer), (plain, torch.optim.SGD(plain.parameters(), lr=0.1))):
        for _ in range(3):
            each.zero_grad()
            net(torch.ones(4, 64)).square().sum().backward()
            each.step()
    assert torch.equal(model.weight, plain.weight)
    assert optimizer.wire_bytes_per_step() == 0
    optimizer.load_state_dict(optimizer.state_dict())


def test_modes_exclude_each_other() -> None:
    model = nn.Linear(64, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match='update="layerwise" and staleness=1 exclude'):
        DistributedOptimizer(optimizer, model, update="layerwise", staleness=1)
    with pytest.raises(ValueError, match="averaging_interval is 0"):
        DistributedOptimizer(optimizer, model, averaging_interval=0)
    with pytest.raises(ValueError, match="update is 'late'"):
        DistributedOptimizer(optimizer, model, update="late")


def test_wrong_number_of_given_workers_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="workers is 0"):
        GQ(wire_bits=4, workers=0)


def test_unbound_gradient_is_explained() -> None:
    compression = GQ(wire_bits=4, workers=2).bind(nn.Linear(64, 64))
    with pytest.raises(ValueError, match=r"bind\(model\)"):
        compression.compress(torch.ones(64, 64))
