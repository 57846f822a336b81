"""The policy `auto` beside the methods that it may choose, in every cell of the sweep."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from pipelines.intervals import median_interval
from pipelines.results import Row
from pipelines.tables import markdown_line

CLOSE = 1.1
"""Close rivals of `auto`: what it may choose with a median step of at most so many times the shortest of these."""


def policy_table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table: `auto` beside the fastest, by the median, that it may choose."""
    yield "| model | link | workers | fastest that `auto` may choose | its step, ms | `auto`, ms | `auto` over it | the same by round (95 % interval) | rounds | formats chosen (buckets) | steps until then | what they cost beyond as many steps of the choice, in such steps |"  # noqa: E501
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        if row["strategy"] != "auto":
            continue
        keys = ("model", "link", "workers")
        cell = [other for other in rows if all(other[key] == row[key] for key in keys)]
        uniform = [other for other in cell if could_choose(row, other)]
        best = min(uniform, key=lambda other: float(other["step_seconds_median"]))
        steps = [best["step_seconds_median"], row["step_seconds_median"]]
        shared = min(row["num_rounds"], best["num_rounds"])
        mine, its = (np.array(each["step_seconds_by_round"][:shared]) for each in (row, best))
        ratios = mine / its
        interval = median_interval(ratios.tolist())
        bounds = "too few rounds" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        cells = [*(str(row[key]) for key in keys), best["method"], *(f"{1e3 * step:.1f}" for step in steps)]
        cells += [f"{steps[1] / steps[0]:.3f}", f"{np.median(ratios):.3f} ({bounds})", str(len(ratios))]
        formats: Counter[str] = Counter(row["choices"])
        size = row.get("bucket_bytes")  # older rows have none: all buckets were of one size
        cells.append(
            ", ".join(f"{name} ({number})" for name, number in formats.items())
            + ("" if size is None else f" of {size // 1024:,} KiB")
            + (", layer by layer" if row.get("layerwise") else "")
        )
        yield markdown_line([*cells, *trial_cells(row)])


def trial_cells(row: Row) -> list[str]:
    """Return how many steps the choice took, and by how many steps of the choice they were longer than these."""
    made = row.get("warmup_steps")  # older rows do not say
    if made is None:
        return ["not noted", "not noted"]
    return [f"{made:,}", f"{row['warmup_seconds'] / row['step_seconds_median'] - made:.0f}"]


def could_choose(auto: Row, other: Row) -> bool:
    """Whether the method of row `other` is one that `auto` may choose for all buckets: fp32, fp16, GQ, low rank."""
    if other["strategy"] in ("gq", "gq_layerwise"):
        return other["wire_bits"] in auto["wire_bits"]
    if other["strategy"] == "gq_lowrank":
        return other.get("factor_rank") in (auto.get("factor_ranks") or [])
    return other["strategy"] in ("sdp", "sdp_fp16")


def rivals(medians: Mapping[str, float], facts: Mapping[str, Row]) -> list[str]:
    """Return `auto` and its close rivals, in the order of `medians`; none without `auto` or without a rival.

    `medians` holds a method's median step, `facts` the strategy and wire width of each.
    """
    policies = [method for method in medians if facts[method]["strategy"] == "auto"]
    choosable = [m for m in medians if any(could_choose(facts[policy], facts[m]) for policy in policies)]
    limit = CLOSE * min((medians[method] for method in choosable), default=0.0)
    close = {method for method in choosable if medians[method] <= limit}
    return [method for method in medians if method in close or method in policies] if close else []
