"""The command line `python -m stages.speedup predict`: its options, and the table that it prints."""

import argparse
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from pipelines.cluster.spec import UNIT_BITS
from pipelines.errors import UserError
from pipelines.speedup.calibration.store import load_calibration, load_trace, traced_models
from pipelines.speedup.forecast import LIBRARIES, STRAGGLER_SIGMA, Forecast, forecast, machine_for
from pipelines.speedup.simulator import Algorithm, Network

RATE = re.compile(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit|tbit)")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)")
UNIT_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
RATE_UNITS = {**UNIT_BITS, "tbit": 10**12}
MOST_WORKERS = 65_536
STRAGGLERS_HELP = "spread of a worker's step from step to step, in percent (default: %(default)g)"


class Parser(argparse.ArgumentParser):
    """Refuses what it does not know in one line, as all stages do."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message} (python -m stages.speedup predict --help)")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the stage's command line; without arguments `action` is None, the DVC stage. Raises UserError."""
    parser = Parser(prog="python -m stages.speedup", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", parser_class=Parser)
    ask = actions.add_parser(
        "predict", help="predict the step of every method on your network", allow_abbrev=False
    )
    ask.add_argument("--model", required=True, help=f"one of {', '.join(traced_models())}")
    ask.add_argument("--workers", required=True, type=int, help="number of workers, from 2")
    ask.add_argument("--bandwidth", required=True, help="of a host's link, each direction (10gbit, 100mbit)")
    ask.add_argument("--latency", required=True, help="one way from host to host (50us, 1ms)")
    ask.add_argument("--gpus-per-host", type=int, default=1, help="workers that share a link (default: 1)")
    ask.add_argument("--intra", help="bandwidth between the workers of a host (default: no limit)")
    ask.add_argument("--step-ms", type=float, help="step of one worker on your hardware (default: as traced)")
    ask.add_argument("--library", default=LIBRARIES[0], help="gloo (calibrated, default) or nccl (it is not)")
    ask.add_argument(
        "--algorithm", default=Algorithm.BEST.value, help=", ".join(each.value for each in Algorithm)
    )
    ask.add_argument("--cycle-ms", type=float, default=1.0, help="HOROVOD_CYCLE_TIME (default: 1)")
    ask.add_argument("--stragglers", type=float, default=100 * STRAGGLER_SIGMA, help=STRAGGLERS_HELP)
    ask.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def answer(asked: argparse.Namespace) -> str:
    """Return what to print for a parsed `predict`; UserError for values that make no sense."""
    _check(asked.workers >= 2, "--workers", asked.workers, "a whole number from 2")
    _check(asked.workers <= MOST_WORKERS, "--workers", asked.workers, f"at most {MOST_WORKERS}")
    per_host = asked.gpus_per_host
    _check(per_host >= 1, "--gpus-per-host", per_host, "a whole number from 1")
    shared = asked.workers % per_host == 0 or per_host >= asked.workers
    _check(shared, "--gpus-per-host", per_host, f"a divisor of --workers {asked.workers}")
    _check(
        asked.step_ms is None or 0 < asked.step_ms < math.inf, "--step-ms", asked.step_ms, "a number above 0"
    )
    _check(0 <= asked.cycle_ms < math.inf, "--cycle-ms", asked.cycle_ms, "a number of at least 0")
    _check(0 <= asked.stragglers <= 100, "--stragglers", asked.stragglers, "a number from 0 to 100 (percent)")
    algorithms = [each.value for each in Algorithm]
    _check(asked.algorithm in algorithms, "--algorithm", asked.algorithm, ", ".join(algorithms))
    network = Network(
        workers=asked.workers,
        bandwidth=parse_bandwidth("--bandwidth", asked.bandwidth),
        latency=parse_duration("--latency", asked.latency),
        workers_per_host=per_host,
        intra_bandwidth=math.inf if asked.intra is None else parse_bandwidth("--intra", asked.intra),
        algorithm=Algorithm(asked.algorithm),
    )
    calibration, trace = load_calibration(), load_trace(asked.model)
    if asked.step_ms is not None:
        trace = trace.scaled_to(asked.step_ms / 1e3)
    machine = machine_for(
        calibration,
        asked.library,
        cycle_seconds=asked.cycle_ms / 1e3,
        straggler_sigma=asked.stragglers / 100,
    )
    found = forecast(trace, network, machine, calibration)
    return as_json(found) if asked.json else "\n".join(table(found, asked))


def parse_bandwidth(option: str, text: str) -> float:
    """Return bits a second of `10gbit` (powers of ten); UserError on anything else and on 0."""
    match = RATE.fullmatch(text.lower())
    bits = float(match[1]) * RATE_UNITS[match[2]] if match else 0.0
    _check(bits > 0, option, text, "a number above 0 with kbit, mbit, gbit or tbit (10gbit)")
    return bits


def parse_duration(option: str, text: str) -> float:
    """Return the seconds of `50us`; UserError on anything else."""
    match = DURATION.fullmatch(text.lower())
    _check(match is not None, option, text, "a number with us, ms or s (50us)")
    assert match is not None
    return float(match[1]) * UNIT_SECONDS[match[2]]


def _check(condition: bool, option: str, value: object, allowed: str) -> None:
    if not condition:
        raise UserError(f"{option}: {value} is not allowed; allowed: {allowed}")


def as_json(found: Forecast) -> str:
    """Return the forecast for machines."""
    chosen, close = found.recommended()
    return json.dumps(
        {
            "one_worker_seconds": found.one_worker_seconds,
            "methods": [each.row() for each in found.methods],
            "impossible": found.impossible,
            "recommended": chosen.method,
            "not_told_apart": close,
        },
        indent=2,
    )


def table(found: Forecast, asked: argparse.Namespace) -> Iterator[str]:
    """Yield the lines for people."""
    hosts = f", {asked.gpus_per_host} a host" if asked.gpus_per_host > 1 else ""
    yield (
        f"{asked.model}, {asked.workers} workers{hosts}, {asked.bandwidth}, {asked.latency}, {asked.library}; "
        f"one worker: {1e3 * found.one_worker_seconds:.1f} ms a step. Predicted, not measured."
    )
    width = max(map(len, ("method", *(each.method for each in found.methods), *found.impossible)))
    yield f"{'method':{width}} {'step, ms':>10} {'±':>5} {'over one worker':>16} {'over sdp':>9} {'MB sent':>9}"
    for each in found.methods:
        ratio = "" if each.over_reference is None else f"{each.over_reference:.2f}×"
        late = "" if each.same_updates else "  late or local updates"
        yield (
            f"{each.method:{width}} {1e3 * each.step_seconds:10.1f} {each.uncertainty:5.0%} {each.speedup:15.2f}× "
            f"{ratio:>9} {each.sent_bytes / 1e6:9.3f}{late}"
        )
    for method, reason in found.impossible.items():
        yield f"{method:{width}} cannot run: {reason}"
    chosen, close = found.recommended()
    yield f"Recommended by time: {chosen.method}{_why(chosen.method, close)}"


def _why(chosen: str, close: list[str]) -> str:
    if not close:
        return ", faster than every other method that updates as sdp does."
    others = ", ".join(close)
    if chosen == "sdp":
        return f"; the predictions cannot tell it from {others}, so there is nothing sure to win."
    return f"; the predictions cannot tell it from {others}: let accuracy decide."
