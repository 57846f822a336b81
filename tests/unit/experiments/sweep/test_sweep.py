"""Rows, table and figures of the sweep, from blocks written by hand."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.validate import FieldError
from pipelines.experiments.sweep import SweepConfig, SweepJob
from pipelines.experiments.sweep.policy import median_interval, policy_table, rivals
from pipelines.experiments.sweep.rows import ALONE, LOCKSTEP, Blocks, sweep_rows
from pipelines.experiments.sweep.summary import paired_verdict, summarise, verdict
from pipelines.results import Row

COLUMNS = ("step_seconds", "encode_seconds", "decode_seconds", "payload_bytes", "interface_bytes")
FACTS = {"model": "m", "link": "100mbit", "workers": 2, "oversubscribed": False}


def blocks(method_steps: list[float], alone_steps: list[float]) -> Blocks:
    """A worker whose interface carries 10 bytes of negotiation a second beside the 1,050 bytes of a step."""
    return {
        ALONE: [(seconds, 0.0, 0.0, 0.0, 10 * seconds) for seconds in alone_steps],
        "gq4": [(seconds, 0.01, 0.02, 1000.0, 1050.0 + 10 * seconds) for seconds in method_steps],
    }


def rows_of(*workers: Blocks) -> dict[str, dict[str, object]]:
    return {str(row["method"]): row for row in rows_on("100mbit", *workers)}


def rows_on(link: str, *workers: Blocks) -> list[Row]:
    """Of blocks whose times and bytes both count."""
    complete = [{LOCKSTEP: worker[ALONE], **worker} for worker in workers]
    return sweep_rows(complete, complete, COLUMNS, {**FACTS, "link": link}, 4)


def test_a_block_counts_as_long_as_its_slowest_worker() -> None:
    rows = rows_of(blocks([1.0, 5.0, 3.0], [1.0, 1.0, 1.0]), blocks([2.0, 4.0, 3.5], [1.0, 1.0, 1.0]))
    assert rows["gq4"]["step_seconds_median"] == 3.5  # of 2, 5 and 3.5
    assert (rows["gq4"]["num_rounds"], rows["gq4"]["timed_steps"]) == (3, 12)
    assert rows["gq4"]["step_seconds_by_round"] == [2.0, 5.0, 3.5]
    assert rows["gq4"]["wire_bytes_expected_per_step"] == 1000.0


def test_exposed_communication_is_paired_with_the_step_alone_of_the_same_round() -> None:
    # The machine slows down in the last rounds; the method costs 0.5 s more in every one of them.
    row = rows_of(blocks([1.5, 1.6, 4.5, 4.7, 5.0], [1.0, 1.1, 4.0, 4.2, 4.5]))["gq4"]
    assert row["exposed_communication_seconds"] == pytest.approx(0.5)


def test_a_method_is_compared_with_sdp_round_by_round() -> None:
    worker = blocks([8.0, 1.5, 40.0, 3.0, 16.0], [1.0] * 5)
    worker["sdp"] = [(seconds, 0.0, 0.0, 8000.0, 8100.0) for seconds in (4.0, 2.0, 40.0, 4.0, 64.0)]
    row = rows_of(worker)["gq4"]
    # Of 2, 0.75, 1, 0.75 and 0.25; the ratio of the medians is 2.
    assert row["step_over_sdp_median"] == 0.75
    assert (row["step_over_sdp_low_quartile"], row["step_over_sdp_high_quartile"]) == (0.75, 1.0)
    assert rows_of(blocks([1.0], [1.0]))["gq4"]["step_over_sdp_median"] is None


def test_every_row_says_what_one_worker_took_in_its_own_run() -> None:
    rows = rows_of(blocks([1.0, 2.0, 3.0], [0.5, 0.9, 0.7]))
    assert {row["one_worker_step_seconds_median"] for row in rows.values()} == {0.7}


def test_one_worker_alone_has_a_row_of_its_own() -> None:
    alone = rows_of(blocks([1.0, 2.0], [0.5, 0.7]))[ALONE]
    assert alone["workers"] == 1
    assert alone["step_seconds_median"] == pytest.approx(0.6)
    assert alone["exposed_communication_seconds"] == 0.0


@pytest.mark.parametrize(
    ("link", "payload_bytes", "idle_seconds"),
    [
        ("unshaped", 1000.0, 2.0),  # the bytes take no time
        ("1mbit", 1000.0, 1.992),  # 8 kbit at 1 Mbit/s
        ("1mbit", 125_000.0, 1.0),
        ("1mbit", 1_000_000.0, 0.0),  # a bucket lets more pass than the rate allows; never below 0
    ],
)
def test_the_negotiation_is_subtracted_while_no_payload_is_under_way(
    link: str, payload_bytes: float, idle_seconds: float
) -> None:
    """The interface carries 10 bytes of negotiation a second beside 1.05 times the payload."""
    worker: Blocks = {
        ALONE: [(seconds, 0.0, 0.0, 0.0, 10 * seconds) for seconds in (1.0, 1.5, 0.5)],
        "gq4": [(2.0, 0.01, 0.02, payload_bytes, 1.05 * payload_bytes + 10 * idle_seconds)] * 3,
    }
    row = rows_on(link, worker)[1]
    assert row["interface_bytes_per_step"] == pytest.approx(1.05 * payload_bytes + 10 * idle_seconds)
    assert row["control_bytes_per_step"] == pytest.approx(10 * idle_seconds)
    assert row["wire_bytes_counted_per_step"] == pytest.approx(1.05 * payload_bytes)


def test_the_negotiation_is_that_of_the_same_round_and_worker() -> None:
    """The second worker is the slower one of the method, the first one alone: there, both count for a second.

    The second one negotiates three times as much, both ever less from round to round.
    """
    rates = [[10.0, 9.0, 2.0], [30.0, 27.0, 6.0]]
    steps = [[2.0, 8.0, 3.0], [2.5, 9.0, 4.0]]
    workers: list[Blocks] = [
        {
            ALONE: [(1.0 - 0.1 * index, 0.0, 0.0, 0.0, rate) for rate in rates[index]],
            "gq4": [
                (seconds, 0.0, 0.0, 100.0, 105.0 + rate * seconds)
                for seconds, rate in zip(steps[index], rates[index], strict=True)
            ],
        }
        for index in range(2)
    ]
    row = rows_on("unshaped", *workers)[1]
    assert row["wire_bytes_counted_per_step"] == pytest.approx(105.0)
    assert row["control_bytes_per_step"] == pytest.approx(75.0)  # of 30 x 2.5, 27 x 9 and 6 x 4


def test_further_blocks_of_some_methods_count_for_their_step_alone() -> None:
    worker = blocks([1.5, 1.6, 1.7, 1.1, 1.2], [1.0, 1.1, 1.2])
    worker["gq4"][3:] = [(seconds, 9.0, 9.0, 9e9, 9e9) for seconds in (1.1, 1.2)]
    rows = rows_of(worker)
    assert (rows["gq4"]["num_rounds"], rows["gq4"]["timed_steps"]) == (5, 20)
    assert rows["gq4"]["step_seconds_median"] == 1.5
    assert rows["gq4"]["step_seconds_by_round"] == [1.5, 1.6, 1.7, 1.1, 1.2]
    assert rows["gq4"]["exposed_communication_seconds"] == pytest.approx(0.5)
    assert rows["gq4"]["wire_bytes_expected_per_step"] == 1000.0
    assert rows["gq4"]["encode_seconds"] == 0.01
    assert rows[ALONE]["num_rounds"] == 3


def test_times_and_bytes_are_those_of_their_own_blocks() -> None:
    timed, counted = blocks([1.5, 1.6], [1.0, 1.1]), blocks([9.0, 8.0], [7.0, 7.0])
    timed[LOCKSTEP] = counted[LOCKSTEP] = timed[ALONE]
    timed["gq4"] = [(*block[:3], 9e9, 9e9) for block in timed["gq4"]]
    row = sweep_rows([timed], [counted], COLUMNS, FACTS, 4)[1]
    assert (row["step_seconds_by_round"], row["one_worker_step_seconds_median"]) == ([1.5, 1.6], 1.05)
    assert row["wire_bytes_expected_per_step"] == 1000.0
    assert row["wire_bytes_counted_per_step"] == pytest.approx(
        1050.0, abs=0.01
    )  # no negotiation during the payload


def test_rivals_of_auto_are_what_it_may_choose_and_nearly_as_fast() -> None:
    facts: dict[str, Row] = {
        "sdp": {"strategy": "sdp", "wire_bits": None},
        "gq16": {"strategy": "gq", "wire_bits": 16},
        "gq8": {"strategy": "gq", "wire_bits": 8},
        "gq4": {"strategy": "gq", "wire_bits": 4},
        "auto": {"strategy": "auto", "wire_bits": [4, 8]},
        "topk": {"strategy": "topk", "wire_bits": None},
    }
    medians = {"sdp": 2.0, "gq16": 1.0, "gq8": 1.09, "gq4": 1.0, "auto": 1.5, "topk": 0.5}
    assert rivals(medians, facts) == ["gq8", "gq4", "auto"]
    assert rivals({**medians, "gq4": 1.2, "sdp": 1.1}, facts) == ["sdp", "gq8", "auto"]
    del medians["auto"]
    assert rivals(medians, facts) == []
    assert rivals({"auto": 1.0, "topk": 1.0}, facts) == []
    facts["rank2"] = {"strategy": "gq_lowrank", "wire_bits": 4, "factor_rank": 2}
    assert rivals({"auto": 1.0, "rank2": 1.0}, facts) == []
    facts["auto"]["factor_ranks"] = [1, 2]
    assert rivals({"auto": 1.0, "rank2": 1.0}, facts) == ["auto", "rank2"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1.0, "2.00"), (2.05, "0.98, slower, within the spread"), (4.0, "0.50, slower")],
)
def test_the_table_says_where_compression_loses(seconds: float, expected: str) -> None:
    shared = {"model": "m", "link": "l", "workers": 2, "step_seconds_iqr": 0.1}
    reference = {**shared, "method": "sdp", "step_seconds_median": 2.0}
    row = {**shared, "method": "gq4", "step_seconds_median": seconds}
    assert verdict(row, [reference, row]) == expected


@pytest.mark.parametrize(
    ("quartiles", "expected"),
    [
        ((0.8, 0.9, 1.1), "0.90 (0.80 to 1.10)"),
        ((0.9, 1.1, 1.2), "1.10 (0.90 to 1.20), slower, within the spread"),
        ((1.1, 1.2, 1.3), "1.20 (1.10 to 1.30), slower"),
    ],
)
def test_the_table_says_where_rounds_are_lost(quartiles: tuple[float, ...], expected: str) -> None:
    names = ("low_quartile", "median", "high_quartile")
    row = {f"step_over_sdp_{name}": value for name, value in zip(names, quartiles, strict=True)}
    assert paired_verdict({"method": "gq4", **row}) == expected


def test_auto_stands_beside_the_fastest_of_its_own_cell() -> None:
    def row(
        strategy: str, wire_bits: object, steps: list[float], link: str = "1gbit", workers: int = 2
    ) -> Row:
        facts = {"model": "m", "link": link, "workers": workers, "step_seconds_by_round": steps}
        facts |= {"step_seconds_median": statistics.median(steps), "num_rounds": len(steps)}
        facts["choices"] = ["none", "gq8", "gq8"] if strategy == "auto" else []
        facts["bucket_bytes"] = 512 * 1024 if strategy == "auto" else None
        # 100 steps of 1.1 s, and 22 s more: as long as 20 of them.
        facts |= {"warmup_steps": 100, "warmup_seconds": 132.0}
        return {**facts, "method": f"{strategy}, {wire_bits}", "strategy": strategy, "wire_bits": wire_bits}

    rows = [
        row("sdp", None, [2.0] * 7),
        row("gq", 8, [1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0]),
        row("gq", 2, [0.7] * 7),  # no width of auto's
        row("gq_interval", 4, [0.5] * 7),  # skips exchanges: not what auto chooses from
        row("gq", 8, [0.1] * 7, link="100mbit"),
        row("gq", 8, [0.1] * 7, workers=4),
        row("auto", [4, 8], [0.9, 0.95, 1.05, 1.1, 2.4, 3.9, 4.0]),
    ]
    # The ratios of the rounds are 0.9, 0.95, 1, 1.05, 1.1, 1.2 and 1.3: their extremes hold the median of 7 with
    # 1 - 2 / 2^7 = 98 %, the next ones with 1 - 16 / 2^7 = 88 %.
    expected = "| m | 1gbit | 2 | gq, 8 | 1000.0 | 1100.0 | 1.100 | 1.050 (0.900 to 1.300) | 7 | none (1), gq8 (2) of 512 KiB | 100 | 20 |"  # noqa: E501
    assert list(policy_table(rows))[2:] == [expected]


@pytest.mark.parametrize(
    ("number", "skipped"),
    # Tables of the sign test at 5 %, two-sided, give 1 for 6 to 8 values, 2 for 9 to 11, 6 for 20 and 10 for 30.
    [(5, None), (6, 0), (8, 0), (9, 1), (11, 1), (20, 5), (30, 9)],
)
def test_the_interval_of_a_median_by_tables(number: int, skipped: int | None) -> None:
    values = [float(value) for value in range(number)]
    expected = None if skipped is None else (float(skipped), float(number - 1 - skipped))
    assert median_interval(values[::-1]) == expected


def test_more_workers_than_cores_time_a_shorter_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert config().methods_of(2) == ("sdp", "gq4")
    assert config().methods_of(3) == ("sdp",)
    assert config(threads_per_worker=2).methods_of(2) == ("sdp",)


def test_short_rounds_are_repeated_until_the_least_time_has_passed() -> None:
    least = {"rounds": 2, "min_seconds": 10.0}
    assert config(**least).rounds_for(done=1, seconds=3.0) == 4
    assert config(**least).rounds_for(done=3, seconds=10.0) == 3
    assert config(**least).rounds_for(done=1, seconds=60.0) == 2
    assert config(rounds=5).rounds_for(done=1, seconds=1e-3) == 5


def config(**changes: object) -> SweepConfig:
    values: dict[str, object] = {
        "models": ("m",),
        "links": ("100mbit",),
        "methods": ("sdp", "gq4"),
        "workers": (2,),
        "oversubscribed_methods": ("sdp",),
        "batch_size": 8,
        "warmup_steps": 1,
        "rounds": 2,
        "min_seconds": 0.0,
        "policy_seconds": 0.0,
        "steps_per_round": 4,
        "threads_per_worker": 1,
        "cycle_milliseconds": 5.0,
        "oversubscribed_cycle_milliseconds": 20.0,
    }
    return SweepConfig(**{**values, **changes})  # type: ignore[arg-type]


def job(model: str, link: str) -> SweepJob:
    """A job of which only the name matters."""
    anything: Any = None
    files = {"params": Path(), "data_folder": Path()}
    return SweepJob(model=model, link=link, sweep=config(), recipe=anything, densenet=anything, **files)


def test_every_cell_takes_its_turns_in_another_order() -> None:
    items = range(16)
    orders = {
        tuple(job(model, link).shuffled(items, workers, turn))
        for model in ("densenet50", "vgg16_bn")
        for link in ("100mbit", "unshaped")
        for workers in (2, 4)
        for turn in range(3)
    }
    assert len(orders) == 2 * 2 * 2 * 3
    assert all(sorted(order) == list(items) for order in orders)


def test_an_order_is_the_same_in_every_process() -> None:
    """Ranks in different orders would wait for each other's collectives for ever."""
    # Written down from another process, whose hash seed was another one.
    assert "".join(job("m", "1gbit").shuffled("abcdefgh", 2, 1)) == "fedcgabh"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("links", ("fast",)),
        ("links", ()),
        ("workers", (1,)),
        ("rounds", 0),
        ("min_seconds", -1.0),
        ("policy_seconds", -1.0),
        ("methods", ()),
        ("oversubscribed_methods", ("gq8",)),
        ("cycle_milliseconds", 0),
        ("oversubscribed_cycle_milliseconds", 0),
    ],
)
def test_a_bad_value_names_its_key(key: str, value: object) -> None:
    with pytest.raises(FieldError, match=key):
        config(**{key: value})


def test_the_summary_writes_rows_table_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workers = blocks([1.0, 1.2], [0.5, 0.6])
    workers["sdp"] = [(3.0, 0.0, 0.0, 8000.0, 8100.0)] * 2
    rows = [{**row, "strategy": "gq"} for row in rows_on("100mbit", workers)]
    folder = tmp_path / "results/sweep/cells"
    folder.mkdir(parents=True)
    (folder / "m-100mbit.json").write_text(json.dumps(rows))
    summarise(config())
    assert json.loads((tmp_path / "results/sweep/sweep.json").read_text()) == rows
    lines = (tmp_path / "results/sweep/sweep.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = start + lines[start:].index("")
    assert end - start == 2 + len(rows)
    assert len({line.count("|") for line in lines[start:end]}) == 1
    assert lines[end + 1 :] == list(policy_table([]))
    for name in ("steps", "acceleration"):
        assert "<svg" in (tmp_path / f"results/sweep/{name}.svg").read_text()


def test_what_of_the_wire_is_hidden_behind_computing() -> None:
    # 1,000 bytes take 80 microseconds at 100 Mbit/s; of these, 20 make the step longer.
    hidden = rows_of(blocks([1.0 + 20e-6, 2.0 + 20e-6, 4.0 + 20e-6], [1.0, 2.0, 4.0]))["gq4"]
    assert hidden["wire_seconds"] == pytest.approx(80e-6)
    assert hidden["hidden_wire_seconds"] == pytest.approx(60e-6)
    exposed = rows_of(blocks([1.25, 2.5, 5.0], [1.0, 2.0, 4.0]))["gq4"]
    assert (exposed["efficiency"], exposed["hidden_wire_seconds"]) == (pytest.approx(0.8), 0.0)


def test_the_limit_is_that_of_workers_that_only_wait_for_each_other() -> None:
    # Alone each is now and then slow; together both are slow whenever one is.
    workers = [blocks([3.0, 3.0, 3.0], steps) for steps in ([1.0, 2.0, 1.0], [2.0, 1.0, 1.0])]
    for worker in workers:
        worker[LOCKSTEP] = [(seconds, 0.0, 0.0, 0.0, 0.0) for seconds in (2.5, 4.0, 1.0)]
    rows = rows_of(*workers)
    assert LOCKSTEP not in rows
    assert {row["efficiency_limit"] for row in rows.values()} == {0.8}  # of 2 / 2.5, 2 / 4 and 1 / 1
    assert rows["gq4"]["efficiency"] == pytest.approx(2 / 3)


def test_an_unshaped_link_has_no_wire_time() -> None:
    rows = rows_on("unshaped", blocks([1.0], [1.0]))
    assert {(row["wire_seconds"], row["hidden_wire_seconds"]) for row in rows} == {(None, None)}
