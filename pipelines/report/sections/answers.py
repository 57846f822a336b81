"""What the study found: each of its claims with its answer, and the interval behind it in one sentence."""

from collections.abc import Iterator, Sequence

from pipelines.report.claims import CLAIMS, RULE, read_claims, shown_claims
from pipelines.report.comparison import ACCURATE, LINK_NAMES, Gain, gains, in_sweep
from pipelines.report.inputs import Inputs, whose
from pipelines.report.page import Detail, Section, Verdict
from pipelines.results import Row
from pipelines.tables import make_table

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "not decided", "not run"


def section(inputs: Inputs) -> Section:
    """Answer the claims: first those about quantized gradients, then those about the models."""
    sweep, sweep_committed = inputs.experiment("sweep/sweep.json")
    parity, parity_committed = inputs.experiment("convergence/parity.json")
    claims, origin = read_claims(inputs.folder)
    timed, timed_committed = inputs.experiment("time_to_accuracy/time_to_accuracy.json")
    verdicts = [*_speed(sweep), *_accuracy(parity), *_sooner(timed), *_models(claims)]
    sources = [
        f"Speed: {whose(sweep_committed, 'make sweep')}. Accuracy: {whose(parity_committed, 'make convergence')}. "
        f"{_source_of(timed, timed_committed)}Models: {origin[0].lower()}{origin[1:]}"
    ]
    rules = [
        "Speed: a claim holds when the 95 % interval of the median ratio, step of plain sums over step of GQ round by "
        "round, lies above 1 for every model, and does not hold when it lies below 1 for one. Accuracy: it holds when "
        "two one-sided t tests over paired seeds reject a difference of 0.5 points or more. Time to accuracy: it holds "
        "when every seed reaches the accuracy and the interval of the ratio of times lies above 1.",
        *([RULE] if claims else []),
    ]
    tests = shown_claims(claims)
    table = make_table(tests, CLAIMS) if tests else None
    details = [Detail("The rules, and every test behind the answers on models", [*sources, *rules], table)]
    lead = [*_lead_speed(sweep), *_lead_accuracy(parity), "In brackets: the 95 % interval."]
    return Section("answers", "What did we find?", lead, verdicts=verdicts, details=details)


def _lead_speed(sweep: Sequence[Row]) -> Iterator[str]:
    """Say in one sentence how much faster GQ is on the slowest link of the sweep."""
    found = gains(sweep)
    if found:
        link = found[0].link
        ratios = [gain.ratio for gain in found if gain.link == link]
        yield (
            f"On {LINK_NAMES.get(link, link)} a training step with 4-bit GQ is {min(ratios):.1f} to {max(ratios):.1f} "
            "times as fast as one with plain fp32 sums."
        )


def _lead_accuracy(parity: Sequence[Row]) -> Iterator[str]:
    """Say in one sentence whether the accuracy stays."""
    if not parity:
        return
    same = [row for row in parity if row["equivalent"]]

    margin = max(row["margin_points"] for row in parity)
    yield (
        f"The test accuracy stays within {margin:g} points of that of plain sums in {len(same)} of {len(parity)} "
        "comparisons."
    )


def _speed(sweep: Sequence[Row]) -> Iterator[Verdict]:
    """Answer for each link of the sweep whether 4-bit GQ is faster than plain sums."""
    if not sweep:
        yield Verdict(NOT_RUN, "GQ with 4 bits is faster than plain sums", "make sweep measures it.")
    for link in dict.fromkeys(row["link"] for row in in_sweep(sweep)):
        yield _faster(LINK_NAMES.get(link, link), [gain for gain in gains(sweep) if gain.link == link])


def _faster(link: str, found: Sequence[Gain]) -> Verdict:
    claim = f"GQ with 4 bits is faster than plain sums on {link}"
    bounded = [gain for gain in found if gain.low is not None and gain.high is not None]
    if len(bounded) < len(found):
        return Verdict(OPEN, claim, "too few rounds for an interval.")
    answer = OPEN
    if all(gain.low is not None and gain.low > 1 for gain in bounded):
        answer = HOLDS
    elif any(gain.high is not None and gain.high < 1 for gain in bounded):
        answer = FAILS
    each = "; ".join(f"{gain.model} {gain.ratio:.2f}× ({gain.low:.2f} to {gain.high:.2f})" for gain in found)
    return Verdict(answer, claim, f"{each}.")


def _accuracy(parity: Sequence[Row]) -> Iterator[Verdict]:
    """Answer for each data set and width whether the accuracy is that of plain sums."""
    if not parity:
        yield Verdict(NOT_RUN, "GQ keeps the accuracy of plain sums", "make convergence tests it.")
    for row in parity:
        low, high, margin = row["difference_low_points"], row["difference_high_points"], row["margin_points"]
        name, answer = ACCURATE.get(row["method"], row["method"]), OPEN
        if row["equivalent"]:
            answer = HOLDS
        elif low > margin or high < -margin:
            answer = FAILS
        yield Verdict(
            answer,
            f"{name} keeps the accuracy of plain sums within {margin:g} points on {row['data']}",
            f"{signed(row['difference_points'])} points ({signed(low)} to {signed(high)}), {row['num_seeds']} seeds.",
        )


def _source_of(timed: Sequence[Row], committed: bool) -> str:
    return f"Time to accuracy: {whose(committed, 'make time_to_accuracy')}. " if timed else ""


def _sooner(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Answer for each model and method whether it reaches the reference's accuracy sooner on the slow link."""
    if not rows:
        yield Verdict(
            NOT_RUN, "GQ reaches the accuracy of plain sums sooner", "make time_to_accuracy measures it."
        )
    for row in (row for row in rows if row["method"] != row["reference"]):
        link = LINK_NAMES.get(row["link"], row["link"])
        name = ACCURATE.get(row["method"], row["method"])
        claim = f"{name} reaches the accuracy of {row['reference']} sooner with {row['model']} on {link}"
        low, high = row["speed_up_low"], row["speed_up_high"]
        reached = f"{row['num_reached']} of {row['num_seeds']} seeds reach it"
        if row["speed_up"] is None:
            yield Verdict(FAILS, claim, f"{reached}.")
        elif low is None:
            yield Verdict(OPEN, claim, f"{row['speed_up']:.2f}×; {reached}.")
        else:
            answer = HOLDS if low > 1 else FAILS if high < 1 else OPEN
            yield Verdict(answer, claim, f"{row['speed_up']:.2f}× ({low:.2f} to {high:.2f}); {reached}.")


def _models(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Answer the claims of the recognition study."""
    if not rows:
        yield Verdict(NOT_RUN, "The claims about models", "make study answers them.")
    for claim in (row for row in rows if row["test"] is None):
        tests = [
            row
            for row in rows
            if row["test"]
            and row["counted"]
            and (row["data"], row["claim"]) == (claim["data"], claim["claim"])
        ]
        each = "; ".join(f"{test['test']}: {_difference(test)}" for test in tests)
        evidence = each or claim["reason"] or "no test"
        yield Verdict(claim["claim_answer"], f"{claim['statement']}, on {claim['data']}", f"{evidence}.")


def _difference(test: Row) -> str:
    """Return the mean difference of a test with its interval, as far as it has them."""
    unit, factor = ("nats", 1) if test.get("unit") == "nats" else ("points", 100)
    if test["difference"] is None:
        return str(test["answer"])
    mean = f"{signed(factor * test['difference'])} {unit}"
    if test["difference_low"] is None:
        return mean
    return f"{mean} ({signed(factor * test['difference_low'])} to {signed(factor * test['difference_high'])})"


def signed(value: float) -> str:
    """Return a difference with two digits and a typographic sign."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
