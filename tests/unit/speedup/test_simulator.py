"""The simulator: cases worked out by hand, and limits that hold whatever the numbers are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.parallel.patterns import Apply, Exchange, Message, Number, Pattern, Start, float_sum
from pipelines.parallel.traces.trace import FREE, Codec
from pipelines.speedup.calibration.prediction import programs_of
from pipelines.speedup.forecast import predict_step
from pipelines.speedup.simulator import IDEAL, Algorithm, Machine, Network, build_program, simulate
from pipelines.speedup.simulator.engine import draw_slowdowns
from tests.unit.speedup.traces import BANDWIDTHS, LATENCIES, METHODS, TENSORS, WORKERS, make_trace

TRACE = make_trace()
ALL = sorted(TRACE.codecs)
COSTLY = Machine(
    efficiency=0.9,
    cycle_seconds=1e-3,
    cycle_share=0.5,
    message_seconds=1e-4,
    fp32_seconds_per_byte=1e-9,
    fp16_seconds_per_byte=5e-9,
    int32_seconds_per_byte=1e-9,
    bytes_seconds_per_byte=1e-9,
    pair_factor=1.5,
    tensor_seconds=1e-4,
    hook_seconds=1e-5,
    view_seconds_per_byte=1e-10,
    codec_factor=1.2,
    core_share=0.0,
    overlap_rate=1.0,
    wire_rate=1.0,
    straggler_sigma=0.05,
)
CODEC = Codec(
    entry={},
    encode_fixed=1e-3,
    encode_per_worker=1e-5,
    decode_fixed=1e-3,
    decode_per_worker=2e-5,
)
STEP = 0.1
METHOD = st.sampled_from(ALL)
SETTINGS = settings(max_examples=80, deadline=None, derandomize=True)


def network(workers: int, bandwidth: float, latency: float = 0.0, **other: object) -> Network:
    return Network(workers=workers, bandwidth=bandwidth, latency=latency, **other)  # type: ignore[arg-type]


def step(method: str, net: Network, machine: Machine = IDEAL, trace: object = TRACE) -> float:
    """Return the predicted step; NaN where the method cannot have so many workers."""
    try:
        return predict_step(trace, method, net, machine)[0]  # type: ignore[arg-type]
    except UserError:
        return math.nan


# --- by hand ---


def one_sum(start: Start, **modes: object) -> Pattern:
    """A single sum of 1 MB: 8 ms a way on 1 Gbit/s, as much again for two workers' second half."""
    exchange = Exchange(tensors=tuple(range(len(TENSORS))), rounds=(float_sum(250_000),))
    return Pattern(exchanges=(exchange,), start=start, **modes)  # type: ignore[arg-type]


def seconds(
    pattern: Pattern, net: Network, machine: Machine = IDEAL, codec: Codec = FREE, **how: object
) -> float:
    how = {"steps": 8, **how}
    return float(simulate(build_program(pattern, TRACE, codec, net.workers), net, machine, **how)[0])  # type: ignore[arg-type]


def test_a_sum_after_the_backward_pass_adds_its_time() -> None:
    # 2 workers send 1 MB each: 8 ms; 4 workers 1.5 MB: 12 ms.
    assert seconds(one_sum(Start.STEP), network(2, 1e9)) == pytest.approx(STEP + 0.008)
    assert seconds(one_sum(Start.STEP), network(4, 1e9)) == pytest.approx(STEP + 0.012)
    # Six steps of latency in a ring of four, and two rounds of negotiation with two stages each.
    assert seconds(one_sum(Start.STEP), network(4, 1e9, 1e-3)) == pytest.approx(STEP + 0.012 + 0.006 + 0.004)


def test_codec_and_library_add_theirs() -> None:
    machine = replace(IDEAL, message_seconds=0.002, fp32_seconds_per_byte=1e-9, efficiency=0.5)
    codec = replace(FREE, encode_fixed=0.003, decode_per_worker=0.001)
    # 16 ms at half the rate, 1 ms of processor, 2 ms to start; 3 ms encode, 2 x 1 ms decode.
    assert seconds(one_sum(Start.STEP), network(2, 1e9), machine, codec) == pytest.approx(STEP + 0.024)


def test_what_the_backward_pass_hides_is_free() -> None:
    early = Exchange(tensors=(6,), rounds=(float_sum(250_000),))
    late = Exchange(tensors=(0,), rounds=(float_sum(125_000),))
    pattern = Pattern(exchanges=(early, late), start=Start.BACKWARD)
    # The last tensor's gradient is the first to come, 60/7 ms into the backward pass: its 8 ms end long before.
    assert seconds(pattern, network(2, 1e9)) == pytest.approx(STEP + 0.004)
    # On 100 Mbit/s its 80 ms end at 8.57 + 80 of 60 ms, and the late one's 40 ms follow.
    assert seconds(pattern, network(2, 1e8)) == pytest.approx(STEP + 0.06 / 7 + 0.08 - 0.06 + 0.04)


def test_a_stale_sum_has_whole_steps_to_travel() -> None:
    stale = one_sum(Start.STEP, staleness=2)
    assert seconds(stale, network(2, 1e9), warmup_steps=8) == pytest.approx(STEP)
    # 800 ms a sum cannot hide behind steps of 100 ms: the link sets the pace.
    assert seconds(stale, network(2, 1e7), warmup_steps=8) == pytest.approx(0.8)
    # A block of 4 steps of sums of 80 ms that ends when all is applied. The first two steps update nothing, so the last
    # sum starts at 90 + 90 + 90 + 10 + 90 ms; when it is there, one update is left.
    assert seconds(stale, network(2, 1e8), steps=4, flush=True) == pytest.approx((0.37 + 0.08 + 0.01) / 4)


def test_an_averaging_interval_shares_one_exchange_among_its_steps() -> None:
    assert seconds(one_sum(Start.STEP, interval=4), network(2, 1e9)) == pytest.approx(STEP + 0.008 / 4)


def test_layer_updates_wait_in_the_next_forward_pass() -> None:
    tiny = Exchange(tensors=(0,), rounds=(float_sum(1),))
    large = Exchange(tensors=(6,), rounds=(float_sum(250_000),))
    usual, layerwise = (
        Pattern(exchanges=(tiny, large), start=Start.STEP, apply=apply)
        for apply in (Apply.STEP, Apply.MODULE)
    )
    assert seconds(usual, network(2, 1e8)) == pytest.approx(STEP + 0.08, rel=1e-5)
    # While the large sum travels, half of the update and six sevenths of the forward pass are made.
    hidden = 0.005 + 0.03 * 6 / 7
    assert seconds(layerwise, network(2, 1e8), warmup_steps=8) == pytest.approx(
        STEP + 0.08 - hidden, rel=1e-5
    )


def test_a_library_on_the_workers_core_takes_time_from_the_backward_pass() -> None:
    early = Exchange(tensors=(6,), rounds=(float_sum(250_000),))
    pattern = Pattern(exchanges=(early,), start=Start.BACKWARD)
    machine = replace(IDEAL, fp32_seconds_per_byte=5e-9)
    assert seconds(pattern, network(2, 1e10), machine) == pytest.approx(STEP)
    # 1 MB of 5 ns a byte.
    shared = replace(machine, core_share=1.0)
    assert seconds(pattern, network(2, 1e10), shared) == pytest.approx(STEP + 0.005)


def test_a_library_on_the_workers_core_is_slow_while_they_compute() -> None:
    early = Exchange(tensors=(6,), rounds=(float_sum(250_000),))
    pattern = Pattern(exchanges=(early,), start=Start.BACKWARD)
    half = replace(IDEAL, wire_rate=0.5)
    # 80 ms alone; in the 60 - 60/7 ms that the backward pass goes on, half of that time's work is done.
    hidden = 0.06 - 0.06 / 7
    assert seconds(pattern, network(2, 1e8), half) == pytest.approx(STEP + 0.08 - hidden / 2)
    # 8 ms alone take 16, and end long before.
    assert seconds(pattern, network(2, 1e9), half) == pytest.approx(STEP)
    # 80 ms of processor time beside as many of the wire: at half its speed it takes 160 of 240 ms, and hides as much.
    busy = replace(IDEAL, fp32_seconds_per_byte=8e-8, overlap_rate=0.5)
    assert seconds(pattern, network(2, 1e8), busy) == pytest.approx(STEP + 0.16 - hidden * 160 / 240)


def test_the_slowest_worker_holds_up_all() -> None:
    factors = draw_slowdowns(16, 64, 0.1, seed=3)
    assert factors.shape == (1, 16, 64)
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.005)
    assert float(np.log(factors).std()) == pytest.approx(0.1, abs=0.005)
    machine = replace(IDEAL, straggler_sigma=0.1)
    tiny = Pattern(exchanges=(Exchange(tensors=(0,), rounds=(float_sum(1),)),), start=Start.STEP)
    slow, clocks = draw_slowdowns(8, 64, 0.1, seed=0)[0], np.zeros(64)
    for factors in slow:
        clocks = (clocks + 0.09 * factors).max() + 0.01 * factors
    assert seconds(tiny, network(64, math.inf), machine) == pytest.approx(clocks.max() / 8)
    # The mean of the largest of 64 normal draws is 2.39 standard deviations.
    assert slow.max(axis=1).mean() == pytest.approx(math.exp(2.39 * 0.1), rel=0.03)


def test_cases_at_once_are_those_one_by_one() -> None:
    program = programs_of(TRACE, "sdp", METHODS["sdp"], 3)[0]
    bandwidths = np.array([1e7, 1e8, 1e9])
    several = simulate(program, network(3, bandwidths[:, None]), COSTLY, steps=4)  # type: ignore[arg-type]
    single = [float(simulate(program, network(3, b), COSTLY, steps=4)[0]) for b in bandwidths]
    np.testing.assert_allclose(several, single, rtol=1e-12)


def test_equal_seeds_give_equal_steps() -> None:
    runs = [predict_step(TRACE, "sdp", network(8, 1e8), COSTLY, seed=seed)[0] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_a_thousand_workers_are_simulated() -> None:
    assert step("sdp", network(1024, 1e9, 5e-5), COSTLY) > STEP
    assert math.isnan(step("gq4_bucketed", network(1024, 1e9, 5e-5), COSTLY))


# --- the links ---


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (Algorithm.RING, 2 * 15 * 1e-3 + 2 * 15 / 16 * 0.008),
        (Algorithm.HALVING_DOUBLING, 2 * 2 * 1e-3 + 2 * 3 / 4 * 0.008 + 2 * 3 / 4 * 0.0008),
        (Algorithm.HIERARCHICAL, 2 * 3 * 1e-3 + 2 * 3 / 4 * 0.008 + 2 * 3 / 4 * 0.0008),
        (Algorithm.PARAMETER_SERVER, 2 * 1e-3 + 2 * 4 * 0.008 + 2 * 3 / 4 * 0.0008),
    ],
)
def test_sums_of_sixteen_workers_on_four_hosts(algorithm: Algorithm, expected: float) -> None:
    net = network(16, 1e9, 1e-3, workers_per_host=4, intra_bandwidth=1e10, algorithm=algorithm)
    negotiation = 2 * 4 * 1e-3
    assert seconds(one_sum(Start.STEP), net) == pytest.approx(STEP + negotiation + expected)


def test_the_best_algorithm_is_the_fastest() -> None:
    def at(algorithm: Algorithm, latency: float) -> float:
        return seconds(one_sum(Start.STEP), network(12, 1e9, latency, algorithm=algorithm))

    for latency, best in ((0.0, Algorithm.RING), (1e-2, Algorithm.HALVING_DOUBLING)):
        assert at(Algorithm.BEST, latency) == at(best, latency)


# --- limits ---


@given(method=METHOD, workers=WORKERS)
@SETTINGS
def test_a_free_exchange_gives_linear_speedup(method: str, workers: int) -> None:
    predicted = step(method, network(workers, math.inf))
    assert math.isnan(predicted) or workers * STEP / predicted == pytest.approx(workers)


@given(method=METHOD, workers=WORKERS)
@SETTINGS
def test_a_link_that_carries_nothing_gives_none(method: str, workers: int) -> None:
    predicted = step(method, network(workers, 0.0), COSTLY)
    assert math.isnan(predicted) or workers * STEP / predicted == 0.0


@given(workers=WORKERS, bandwidth=BANDWIDTHS, latency=LATENCIES)
@SETTINGS
def test_smaller_messages_are_never_slower(workers: int, bandwidth: float, latency: float) -> None:
    net = network(workers, bandwidth, latency)
    plain = programs_of(TRACE, "sdp", METHODS["sdp"], workers)[0].pattern
    eighths = [
        replace(
            each, rounds=tuple(replace(message, num_bytes=message.num_bytes // 8) for message in each.rounds)
        )
        for each in plain.exchanges
    ]
    small, large = (
        float(simulate(build_program(each, TRACE, FREE, workers), net, COSTLY, steps=8, warmup_steps=8)[0])
        for each in (replace(plain, exchanges=tuple(eighths)), plain)
    )
    assert math.isnan(small) or small <= large * (1 + 1e-12)


@given(workers=WORKERS, bandwidth=BANDWIDTHS, latency=LATENCIES)
@SETTINGS
def test_gqs_buckets_are_never_slower_than_the_same_buckets_in_fp32(
    workers: int, bandwidth: float, latency: float
) -> None:
    net = network(workers, bandwidth, latency)
    for method in ("gq4_bucketed", "gq16_bucketed", "gq4_layerwise", "gq8_interval"):
        try:
            program = programs_of(TRACE, method, METHODS[method], workers)[0]
        except UserError:
            continue
        plain = build_program(in_fp32(program.pattern), TRACE, FREE, workers)
        quantized, uncompressed = (
            float(simulate(each, net, COSTLY, steps=8, warmup_steps=8)[0]) for each in (program, plain)
        )
        assert quantized <= uncompressed * (1 + 1e-12)


def in_fp32(pattern: Pattern) -> Pattern:
    """The same exchanges, each as one sum of fp32."""
    exchanges = tuple(
        replace(each, rounds=(float_sum(sum(math.prod(TENSORS[n][1]) for n in each.tensors) + 9),))
        for each in pattern.exchanges
    )
    return replace(pattern, exchanges=exchanges)


@given(workers=WORKERS, bandwidth=BANDWIDTHS, latency=LATENCIES, factor=st.floats(1.0, 10.0))
@SETTINGS
def test_more_bandwidth_or_less_latency_is_never_slower(
    workers: int, bandwidth: float, latency: float, factor: float
) -> None:
    trace = make_trace(CODEC)
    for method in ALL:
        usual = step(method, network(workers, bandwidth, latency), COSTLY, trace)
        wider = step(method, network(workers, bandwidth * factor, latency), COSTLY, trace)
        nearer = step(method, network(workers, bandwidth, latency / factor), COSTLY, trace)
        if not math.isnan(usual):
            assert wider <= usual * (1 + 1e-12), method
            assert nearer <= usual * (1 + 1e-12), method


@given(
    workers=st.sampled_from([8, 16, 64]),
    bandwidth=BANDWIDTHS,
    latency=LATENCIES,
    factor=st.floats(1.0, 100.0),
    algorithm=st.sampled_from(list(Algorithm)),
)
@SETTINGS
def test_faster_links_inside_a_host_are_never_slower(
    workers: int, bandwidth: float, latency: float, factor: float, algorithm: Algorithm
) -> None:
    def at(intra: float) -> float:
        shared = {"workers_per_host": 4, "intra_bandwidth": intra, "intra_latency": 1e-5}
        return step("sdp", network(workers, bandwidth, latency, algorithm=algorithm, **shared), COSTLY)

    assert at(1e9 * factor) <= at(1e9) * (1 + 1e-12)


def test_messages_know_their_number() -> None:
    message = Message(collective=float_sum(1).collective, num_bytes=1, number=Number.FP16)
    assert COSTLY.seconds_per_byte(message.number) == 5e-9
