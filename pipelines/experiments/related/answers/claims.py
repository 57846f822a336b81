"""The systems' claims, answered from their rows by the rules of the recognition study.

Every comparison is a test of the differences between two variants, paired by seed. It holds when the two-sided 95 % t
interval of their mean lies above minus the margin, does not hold when it lies at or below it, and else is not decided.
"""

from collections.abc import Sequence

from pipelines.experiments.related.system import Comparison, System
from pipelines.experiments.study.answers.claims import NOT_RUN, UNDECIDED, decide, interval_test, overall
from pipelines.results import Row


def claim_rows(system: System, data: str, rows: Sequence[Row]) -> list[Row]:
    """Return a row with the answer (test None), then one a comparison; `rows` are those of the runs on `data`."""
    tests = [
        comparison_row(pair, rows) for pair in system.comparisons() if not pair.data or data in pair.data
    ]
    counted = [test["answer"] for test in tests if test["counted"]]
    ran = [answer for answer in counted if answer != NOT_RUN]
    answer = NOT_RUN if not ran else overall([UNDECIDED if one == NOT_RUN else one for one in counted])
    common: Row = {
        "experiment": "claim",
        "system": system.name,
        "data": data,
        "claim": system.name,
        "statement": system.claim,
        "claim_answer": answer,
        "reason": None if ran else "its variants were not trained",
    }
    return [{**common, "test": None, "answer": answer}, *({**common, **test} for test in tests)]


def comparison_row(pair: Comparison, rows: Sequence[Row]) -> Row:
    """Test one comparison; difference, its bounds and margin are in units of the field."""
    first = by_seed(rows, pair.first, pair.key)
    second_key = pair.second_key or pair.key
    second = dict.fromkeys(first, 0.0) if pair.second is None else by_seed(rows, pair.second, second_key)
    name = (
        f"{pair.first} over {pair.second}"
        if (pair.key, pair.second_key) == ("test_accuracy", None)
        else _described(pair)
    )
    differences = [first[seed] - second[seed] for seed in first if seed in second]
    row = interval_test(name, differences) | {"counted": pair.counted, "key": pair.key, "margin": pair.margin}
    if not differences:
        return row | {"answer": NOT_RUN}
    low, high = row["difference_low"], row["difference_high"]
    if low is not None:
        row["answer"] = decide(low + pair.margin, high + pair.margin)
    return row


def _described(pair: Comparison) -> str:
    against = "" if pair.second is None else f" over {pair.second}"
    if pair.second_key is not None:
        return f"{pair.first}: {_words(pair.key)}{against}: {_words(pair.second_key)}"
    return f"{pair.first}{against}: {_words(pair.key)}"


def _words(key: str) -> str:
    return key.replace("_", " ")


def by_seed(rows: Sequence[Row], variant: str, key: str) -> dict[int, float]:
    """Return the numbers of a variant's runs by seed, without those that have none."""
    mine = [row for row in rows if row["experiment"] == "run" and row["variant"] == variant]
    return {row["seed"]: row[key] for row in mine if row.get(key) is not None}
