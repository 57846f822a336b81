"""Parameters of the distributed runs: mistakes are one clear line, before any worker starts."""

from pathlib import Path

import pytest

from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.parallel import DistributedConfig
from pipelines.parallel.run import progress
from pipelines.parallel.strategies import STRATEGIES, build_strategy, strategy_of
from tests.imports import ROOT

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


def edited(folder: Path, old: str, new: str) -> Path:
    assert old in PARAMS
    path = folder / "params.yaml"
    path.write_text(PARAMS.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "workers: 2",
            "workers: 1",
            "distributed.workers: 1 is not allowed; allowed: a whole number of at least 2",
        ),
        (
            "hosts: null",
            "hosts: 'a b'",
            "distributed.hosts: 'a b' is not allowed; allowed: null or HOST:SLOTS",
        ),
        ("hosts: null", "hosts: a:1", "distributed.hosts: 'a:1' is not allowed; allowed: at least 2 slots"),
        ("batch_size: 64 # per worker", "batch_size: 0", "distributed.batch_size: 0 is not allowed"),
        (
            "silence_error_seconds: 45",
            "silence_error_seconds: 15",
            "distributed.silence_error_seconds: 15 is not allowed; allowed: more than silence_warning_seconds",
        ),
        (
            "stall_warning_seconds: 60",
            "stall_warning_seconds: 0",
            "distributed.stall_warning_seconds: 0 is not allowed",
        ),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_section(DistributedConfig, "distributed", edited(tmp_path, old, new))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("method", "old", "new", "expected"),
    [
        (
            "gq5",
            "workers: 2",
            "workers: 2",
            "'gq5' is no key of the section methods; keys: sdp, sdp_fp16, gq8, gq4, gq2, ",
        ),
        (
            "gq4",
            "wire_bits: 4",
            "wire_bits: 5",
            "methods.gq4.wire_bits: 5 is not allowed; allowed: 2, 3, 4, 8, 16",
        ),
        (
            "gq4",
            "wire_bits: 4",
            "bits: 4",
            "methods.gq4.bits: unknown key (value 4); allowed: wire_bits, exchange",
        ),
        (
            "gq2",
            "path: bucketed",
            "path: stock",
            "methods.gq2.exchange: 'scatter_reduce_allgather' is not allowed; allowed: allreduce with path stock",
        ),
        (
            "gq4_interval",
            "averaging_interval: 4",
            "averaging_interval: 0",
            "methods.gq4_interval.averaging_interval: 0 is not allowed; allowed: a whole number of at least 1",
        ),
        ("ssp", "staleness: 2", "staleness: 0", "methods.ssp.staleness: 0 is not allowed"),
        (
            "gq4_small8",
            "small_bits: 8 }",
            "small_bits: 4 }",
            "methods.gq4_small8.small_bits: 4 is not allowed; allowed: 8, 16, 32",
        ),
        (
            "gq4_fine",
            "scale_group: 1024",
            "scale_group: 1000",
            "methods.gq4_fine.scale_group: 1000 is not allowed; allowed: null or a multiple of 128",
        ),
        (
            "gq_lowrank",
            "gq_lowrank, wire_bits: 4, factor_rank: 2, factor_bits: 8, exchange: allreduce",
            "gq_lowrank, wire_bits: 4, factor_rank: 65, factor_bits: 8, exchange: allreduce",
            "methods.gq_lowrank.factor_rank: 65 is not allowed; allowed: a whole number of at least 1, at most 64",
        ),
        (
            "powersgd",
            "rank: 2",
            "rank: 0",
            "methods.powersgd.rank: 0 is not allowed; allowed: a whole number",
        ),
        (
            "topk",
            "density: 0.01 }",
            "density: 2.0 }",
            "methods.topk.density: 2.0 is not allowed; allowed: a number above 0, at most 1",
        ),
        (
            "terngrad",
            "clip_sigmas: 2.5",
            "clip_sigmas: 0",
            "methods.terngrad.clip_sigmas: 0.0 is not allowed",
        ),
        (
            "qsgd",
            "levels: 7",
            "levels: 128",
            "methods.qsgd.levels: 128 is not allowed; allowed: a whole number",
        ),
        ("qsgd", "norm: max", "norm: l1", "methods.qsgd.norm: 'l1' is not allowed; allowed: max, l2"),
        ("qsgd", "bucket_size: 512", "bucket_size: 0", "methods.qsgd.bucket_size: 0 is not allowed"),
        (
            "dgc",
            "sample_fraction: 0.01",
            "sample_fraction: 0",
            "methods.dgc.sample_fraction: 0.0 is not allowed",
        ),
        ("dgc", "clip_norm: null", "clip_norm: -1", "methods.dgc.clip_norm: -1.0 is not allowed"),
        (
            "sdp",
            "strategy: sdp }",
            "strategy: bsp }",
            "'bsp' is not allowed; allowed: adaq, auto, dgc, ",
        ),
        ("sdp", "strategy: sdp }", "wire_bits: 4 }", "methods.sdp.strategy: this key is missing"),
        ("sdp", "strategy: sdp }", "strategy: sdp, a: 1 }", "methods.sdp.a: unknown key (value 1)"),
    ],
)
def test_a_wrong_method_is_named(tmp_path: Path, method: str, old: str, new: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        build_strategy(method, edited(tmp_path, old, new))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_width_that_cannot_carry_the_workers_is_named() -> None:
    lowrank = {"strategy": "gq_lowrank", "wire_bits": 16, "factor_rank": 2, "exchange": "allreduce"}
    for extra, key in (({"small_bits": 8, "factor_bits": 16}, "small"), ({"factor_bits": 8}, "factor")):
        strategy = strategy_of({**lowrank, **extra}, "methods.lowrank")
        with pytest.raises(
            UserError, match=rf"^methods\.\*\.{key}_bits: {key}_bits=8 cannot carry the sum of 200"
        ):
            strategy.pattern([("weight", (64, 64))], 200)


def test_every_module_of_the_strategies_registers_one() -> None:
    modules = {path.stem for path in (ROOT / "pipelines/parallel/strategies").glob("*.py")} - {"__init__"}
    assert modules == set(STRATEGIES)


def test_progress_lines_survive_horovodrun(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, "1")
    progress.report_progress(0, 3, 10)
    progress.report_progress(1, 4, 10)  # only rank 0 speaks
    line = capsys.readouterr().out
    assert progress.parse_progress(line) == (3, 10)
    assert progress.parse_progress("[1,0]<stdout>:" + line) == (3, 10)
    assert progress.parse_progress("loss 0.3") is None
    monkeypatch.setenv(progress.ENVIRONMENT, "0")
    progress.report_progress(0, 3, 10)
    assert capsys.readouterr().out == ""
