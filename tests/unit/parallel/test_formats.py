"""The exchanges that wait while a bucket travels in another format."""

import torch

from horovod_gq import GQConfig
from horovod_gq.collectives import Collectives
from horovod_gq.timing import Timings
from pipelines.parallel.formats.pool import FormatPool, Group
from pipelines.parallel.virtual_cluster import run_workers

CONFIGS = {4: GQConfig(wire_bits=4, compile_kernels=False)}


def make_pool(link: Collectives) -> FormatPool:
    parameter = torch.nn.Parameter(torch.zeros(64, 64))
    group = Group(["weight"], [parameter], ["none", "fp16", "gq4"], parameter.numel())
    return FormatPool([group], CONFIGS, link, Timings())


def test_an_exchange_waits_with_its_residual_until_it_is_freed() -> None:
    def work(link: Collectives) -> tuple[torch.Tensor, torch.Tensor]:
        pool = make_pool(link)
        sent = torch.linspace(-1.0, 1.0, 64 * 64).view(64, 64)
        (bucket,) = pool.buckets(["gq4"])
        received = torch.zeros_like(sent)
        for _ in range(2):  # the first step calibrates, in fp32
            bucket.exchange.views[0].copy_(sent)
            bucket.exchange.start(0)
            bucket.exchange.finish(0)
            received += bucket.exchange.views[0]
        assert pool.buckets(["none"])[0].exchange is not bucket.exchange
        assert pool.buckets(["gq4"])[0].exchange is bucket.exchange
        assert pool.residuals([["gq4"]]) == {}
        (residual,) = pool.residuals([["none"], ["fp16"]]).values()
        pool.keep([["none"]])
        assert pool.residuals([["none"]]) == {}
        assert pool.buckets(["gq4"])[0].exchange is not bucket.exchange
        return 2 * sent - received, residual

    for missing, residual in run_workers(2, work):
        assert residual.abs().max() > 0.01
        # Both workers sent the same, so the average lacks what each kept. Three roundings of values below one.
        torch.testing.assert_close(residual, missing, rtol=0, atol=3 * 1.2e-7)


def test_the_wire_width_of_a_format() -> None:
    def work(link: Collectives) -> list[int]:
        return [make_pool(link).buckets([chosen])[0].wire_bits for chosen in ("none", "fp16", "gq4")]

    assert run_workers(2, work) == [[32, 32, 4]] * 2
