"""The exchanges that wait while a bucket travels in another format."""

import pytest
import torch

from horovod_gq import GQConfig
from horovod_gq.collectives import Collectives
from horovod_gq.timing import Timings
from pipelines.errors import UserError
from pipelines.parallel.formats import guard
from pipelines.parallel.formats.forms import configs_of, format_names
from pipelines.parallel.formats.guard import GUARD_STEPS, Guard
from pipelines.parallel.formats.plans import Plan, lossiest, small_format, uniform
from pipelines.parallel.formats.pool import FormatPool, Group
from pipelines.parallel.virtual_cluster import run_workers

CONFIGS = {
    "gq4": GQConfig(wire_bits=4, compile_kernels=False),
    "rank2": GQConfig(form="lowrank", factor_rank=2, factor_bits=8, compile_kernels=False),
}


def make_pool(link: Collectives, *, with_bias: bool = False) -> FormatPool:
    named = [
        ("weight", torch.nn.Parameter(torch.zeros(64, 64))),
        ("bias", torch.nn.Parameter(torch.zeros(64))),
    ]
    return FormatPool(named[: 1 + with_bias], CONFIGS, link, Timings())


def plan(chosen: str) -> Plan:
    return Plan(2**20, (chosen,))


def test_an_exchange_waits_with_its_residual_until_it_is_freed() -> None:
    def work(link: Collectives) -> tuple[torch.Tensor, torch.Tensor]:
        pool = make_pool(link)
        sent = torch.linspace(-1.0, 1.0, 64 * 64).view(64, 64)
        (bucket,) = pool.buckets(plan("gq4"))
        received = torch.zeros_like(sent)
        for _ in range(2):  # the first step calibrates, in fp32
            bucket.exchange.views[0].copy_(sent)
            bucket.exchange.start(0)
            bucket.exchange.finish(0)
            received += bucket.exchange.views[0]
        assert pool.buckets(plan("none"))[0].exchange is not bucket.exchange
        assert pool.buckets(plan("gq4"))[0].exchange is bucket.exchange
        assert pool.residuals([plan("gq4")]) == {}
        (residual,) = pool.residuals([plan("none"), plan("fp16"), Plan(2**19, ("gq4",))]).values()
        pool.keep([plan("none")])
        assert pool.residuals([plan("none")]) == {}
        assert pool.buckets(plan("gq4"))[0].exchange is not bucket.exchange
        return 2 * sent - received, residual

    for missing, residual in run_workers(2, work):
        assert residual.abs().max() > 0.01
        # Both workers sent the same, so the average lacks what each kept. Three roundings of values below one.
        torch.testing.assert_close(residual, missing, rtol=0, atol=3 * 1.2e-7)


def test_the_wire_width_of_a_format() -> None:
    def work(link: Collectives) -> list[int]:
        return [make_pool(link).buckets(plan(name))[0].wire_bits for name in ("none", "fp16", "gq4", "rank2")]

    assert run_workers(2, work) == [[32, 32, 4, 8]] * 2


def make_guard(stride: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Guard, torch.nn.Parameter]:
    monkeypatch.setattr(guard, "SAMPLED_VALUES", 64 * 64 // stride)
    parameter = torch.nn.Parameter(torch.zeros(64, 64))
    group = Group(["weight"], [parameter], small=False)
    return Guard(["gq4", "rank2"], [group], max_error=0.25), parameter


@pytest.mark.parametrize("stride", [1, 3])
def test_the_guard_measures_what_has_not_been_delivered(monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    def work(link: Collectives) -> dict[str, float]:
        measured, parameter = make_guard(stride, monkeypatch)
        draws = torch.Generator().manual_seed(0)
        for missing in (0.2, 0.5):
            total = torch.randn(64, 64, generator=draws)
            parameter.grad = total * (1 - missing) / GUARD_STEPS
            assert [measured.record() for _ in range(GUARD_STEPS)] == [False] * (GUARD_STEPS - 1) + [True]
            # What one rank has sent too much the other one has not sent: the mean counts.
            measured.judge({"weight": total * (missing + (-1) ** link.rank)}, link)
        assert measured.current is None
        assert [measured.allows(name) for name in ("none", "gq4", "rank2")] == [True, True, False]
        return measured.errors

    for errors in run_workers(2, work):
        # Sums of 16 equal numbers in fp32, and the norms' rounding.
        assert errors == pytest.approx({"gq4": 0.2, "rank2": 0.5}, rel=1e-5)


def test_the_guard_has_no_error_for_gradients_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(link: Collectives) -> float:
        measured, _ = make_guard(1, monkeypatch)
        for _ in range(GUARD_STEPS):
            measured.record()
        measured.judge({"weight": torch.zeros(64, 64)}, link)
        return measured.errors["gq4"]

    assert run_workers(2, work) == [0.0, 0.0]


def test_factors_are_wider_where_many_workers_leave_too_few_levels() -> None:
    found = {n: configs_of([4], [2], n)["rank2"].factor_bits for n in (2, 18, 19, 64)}
    assert found == {2: 8, 18: 8, 19: 16, 64: 16}
    names = format_names([4, 16], [1, 4], configs_of([4, 16], [1, 4], 2))
    assert names == ["none", "fp16", "gq16", "gq4", "rank4", "rank1"]


def test_width_3_is_no_choice_where_its_sums_do_not_carry_the_workers() -> None:
    names = {n: format_names([3, 4], [], configs_of([3, 4], [], n)) for n in (2, 15, 16)}
    assert names == {
        2: ["none", "fp16", "gq4", "gq3"],
        15: ["none", "fp16", "gq4", "gq3"],
        16: ["none", "fp16", "gq4"],
    }
    with pytest.raises(UserError, match="wire_bits=3 packs sums"):
        configs_of([3], [], 16)


def test_small_tensors_have_a_width_of_their_own_beside_what_is_lossy() -> None:
    assert [small_format(name, 8) for name in ("none", "fp16", "gq4", "rank2")] == [
        "none",
        "none",
        "gq8",
        "gq8",
    ]
    assert small_format("gq4", 32) == "none"
    assert uniform("rank2", [False, True], 1024, 16) == Plan(1024, ("rank2", "gq16"))
    assert set(configs_of([4], [2], 2, small_bits=8)) == {"gq4", "gq8", "rank2"}

    def work(link: Collectives) -> list[tuple[int, int]]:
        pool = make_pool(link, with_bias=True)
        found = []
        for formats in (("none", "none"), ("gq4", "rank2")):
            # The bias is the last parameter, so its bucket is complete first.
            small, large = pool.buckets(Plan(2**20, formats))
            assert (small.names, large.names) == (["bias"], ["weight"])
            found.append((small.wire_bits, small.exchange.bytes_per_step))
        assert pool.lossy(Plan(2**20, ("none", "rank2"))) == pool.free(2**20)
        return found

    (plain, quantized), _ = run_workers(2, work)
    # 64 values in fp32 with the canary; in 4 bits in one row of a small tensor, and a header.
    assert plain == (32, 4 * 64 + 36)
    assert quantized[0] == 4
    assert quantized[1] < 64


def test_a_plan_is_as_lossy_as_its_lossiest_bucket() -> None:
    formats = ["none", "fp16", "gq8", "gq4"]
    assert lossiest(Plan(1, ("none", "gq8", "fp16")), formats) == 2
    assert lossiest(Plan(1, ("gq16",)), formats) == -1
