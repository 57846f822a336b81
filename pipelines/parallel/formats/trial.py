"""Which of several plans makes the shortest training step: they take turns on real steps, the slow ones drop out."""

import math
import statistics
from collections.abc import Sequence

from pipelines.intervals import student_quantile

FIRST_SETTLING = 3
"""Steps of a plan's first turn before the clock counts: a new exchange calibrates its scale in the first, and may
compile and touch its memory for the first time in the next ones."""
SETTLING = 1
"""The same in its later turns: its memory has left the caches."""
FEWEST_CYCLES = 3
SPREAD = 0.2
"""After c cycles a plan stays while its score is at most 1 + SPREAD / sqrt(c) times the best. Wide: the difference of
two scores has a standard deviation of 0.06 to 0.09 / sqrt(c), and a plan that dropped out cannot come back."""
CERTAINTY = 0.995
"""Of the t test by which a plan drops out earlier, from three cycles on: on a quiet machine scores vary far less."""
CLOSE = 1.02
"""The trial ends early when all plans that are left are surely within so many times the best."""
WORTH = 1.005
"""A lossier plan has to be faster by this factor than a less lossy one."""


class Trial:
    """A tournament between plans, numbered from the least to the most lossy.

    In a cycle each plan that is left has one turn of a few settling and `steps` timed training steps, in the order of
    the numbers or, every other cycle, against it, so that a drift of the machine favours neither end. The first round
    has as many cycles as fill `seconds`, at least one: short steps vary more and can be had in greater number. Each
    further round has twice the cycles of the one before. A turn counts by its median step over the mean of its
    cycle's turns: what slows a whole cycle down is no plan's fault. Tell it of each step with `record`. Where that
    returns True, the workers agree on `scores()` and `spent` and pass the result to `go_on`, so that all go on alike.

    Args:
        num_plans: plans to compare.
        rounds: rounds until the winner is chosen; fewer where one plan is left.
        steps: timed steps of a turn.
        seconds: least duration of the first round.
    """

    def __init__(self, num_plans: int, rounds: int, steps: int, seconds: float) -> None:
        self.left = list(range(num_plans))
        """Numbers of the plans that are still in the tournament."""
        self._rounds, self._steps = rounds, steps
        self._first_round: float | None = seconds
        self.spent = 0.0
        """Seconds of all steps so far, on this worker."""
        self._cycles: list[dict[int, float]] = []
        self._turns: dict[int, float] = {}
        self._samples: list[float] = []
        self._recorded = 0
        self._due = 1

    @property
    def plan(self) -> int:
        """Number of the plan whose turn it is; of the winner at the end."""
        forward = len(self._cycles) % 2 == 0
        return self.left[len(self._turns) if forward else -1 - len(self._turns)]

    @property
    def over(self) -> bool:
        """Whether the winner is known."""
        return len(self.left) == 1

    def record(self, seconds: float) -> bool:
        """Take the seconds of a step of `plan`; return whether it is time for the workers to agree."""
        self.spent += seconds
        self._recorded += 1
        settling = SETTLING if self._cycles else FIRST_SETTLING
        if self._recorded > settling:
            self._samples.append(seconds)
        if self._recorded < settling + self._steps:
            return False
        self._turns[self.plan] = statistics.median(self._samples)
        self._samples, self._recorded = [], 0
        if len(self._turns) < len(self.left):
            return False
        self._cycles.append(self._turns)
        self._turns = {}
        return len(self._cycles) == self._due

    def scores(self) -> list[float]:
        """Return for each plan that is left its step over the mean of those left, by `midmean` over all cycles."""
        means = [statistics.fmean(cycle[plan] for plan in self.left) for cycle in self._cycles]
        return [
            midmean([cycle[plan] / mean for cycle, mean in zip(self._cycles, means, strict=True)])
            for plan in self.left
        ]

    def errors(self) -> list[float]:
        """Return the standard error of each score over the cycles; infinite with fewer than three."""
        if len(self._cycles) < FEWEST_CYCLES:
            return [math.inf] * len(self.left)
        means = [statistics.fmean(cycle[plan] for plan in self.left) for cycle in self._cycles]
        ratios = (
            [cycle[plan] / mean for cycle, mean in zip(self._cycles, means, strict=True)]
            for plan in self.left
        )
        return [statistics.stdev(values) / math.sqrt(len(values)) for values in ratios]

    def go_on(self, scores: Sequence[float], spent: float, errors: Sequence[float] | None = None) -> None:
        """End the round: drop the slow plans, or choose the winner after the last one; or lengthen the first.

        `scores` and `errors` (None: unknown), in the order of the plans, and `spent` as the workers agreed on.
        """
        cycles = len(self._cycles)
        if self._first_round is not None and spent < self._first_round:
            self._due = max(cycles + 1, math.ceil(cycles * self._first_round / spent))
            return
        self._first_round = None
        self._rounds -= 1
        best = min(scores)
        behind = [score - best for score in scores]
        bounds = [math.inf] * len(scores)
        if errors is not None and cycles >= FEWEST_CYCLES:
            quantile = student_quantile(CERTAINTY, cycles - 1)
            least = errors[scores.index(best)]
            bounds = [quantile * math.hypot(error, least) for error in errors]
        if all(gap + bound <= (CLOSE - 1) * best for gap, bound in zip(behind, bounds, strict=True)):
            self._rounds = 0
        most = best * (SPREAD / math.sqrt(cycles) if self._rounds else WORTH - 1)
        kept = [
            plan
            for plan, gap, bound in zip(self.left, behind, bounds, strict=True)
            if gap <= (min(most, max(bound, (WORTH - 1) * best)) if self._rounds else most)
        ]
        self.left = kept if self._rounds else kept[:1]
        self._due += cycles + 1


def midmean(values: Sequence[float]) -> float:
    """Return the mean of the middle half of `values`: nearly as robust as the median, and less noisy."""
    ordered = sorted(values)
    cut = (len(ordered) + 1) // 4
    return statistics.fmean(ordered[cut : len(ordered) - cut])
