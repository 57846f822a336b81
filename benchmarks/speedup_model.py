"""How far the predicted speed-ups can be trusted: predicted over measured steps of the sweep.

Run: python -m benchmarks.speedup_model [--rows FILE]

Takes the rows of `make sweep` (results/sweep.json). From the step of a method on the unshaped link and the bytes that a
worker sends, `pipelines.speedup` predicts its step on each shaped link; printed is the prediction over the step that
was measured there, for every method the median and the range over the models. `auto`, which chooses by the link, and
rows with more workers than cores are left out.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from pipelines.cluster.spec import UNSHAPED, parse_rate
from pipelines.errors import UserError
from pipelines.results import Row, read_json
from pipelines.speedup.model import BITS_PER_MEGABIT, predicted_step_seconds

CLOSE = 0.1


def predictions(rows: list[Row]) -> Iterator[tuple[str, str, float]]:
    """Yield link, method and predicted over measured step of all models; `rows` as in results/sweep.json."""
    timed = [
        row for row in rows if row["workers"] > 1 and not row["oversubscribed"] and row["strategy"] != "auto"
    ]
    measured = {(row["model"], row["workers"], row["method"], row["link"]): row for row in timed}
    for (model, workers, method, link), row in measured.items():
        start = measured.get((model, workers, method, UNSHAPED))
        if link == UNSHAPED or start is None:
            continue
        predicted = predicted_step_seconds(
            start["step_seconds_median"],
            start["wire_bytes_expected_per_step"],
            parse_rate(link) / BITS_PER_MEGABIT,
        )
        yield link, method, predicted / row["step_seconds_median"]


def report(rows: list[Row]) -> Iterator[str]:
    """Yield the lines to print: for each link all methods together, then one by one."""
    ratios = list(predictions(rows))
    for link in dict.fromkeys(link for link, _, _ in ratios):
        by_method: dict[str, list[float]] = {}
        for _, method, ratio in (entry for entry in ratios if entry[0] == link):
            by_method.setdefault(method, []).append(ratio)
        together = [ratio for values in by_method.values() for ratio in values]
        close = sum(abs(ratio - 1) <= CLOSE for ratio in together)
        yield f"{link:8} {'all':16} {_spread(together)}  {close} of {len(together)} within {CLOSE:.0%}"
        for method, values in by_method.items():
            yield f"{'':8} {method:16} {_spread(values)}"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}  ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=Path, default=Path("results/sweep.json"))
    try:
        lines = list(report(read_json(parser.parse_args().rows)))
    except UserError as error:
        sys.exit(str(error))
    if not lines:
        sys.exit("no method was timed both on the unshaped and on a shaped link; run `make sweep` first")
    print("predicted over measured step: median (range) over the models")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
