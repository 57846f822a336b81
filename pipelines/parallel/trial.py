"""Which of several plans makes the shortest training step: they take turns on real steps, the slow ones drop out."""

import statistics
from collections.abc import Sequence

NUM_SETTLING = 1
"""Steps of a turn before the clock counts: a new exchange calibrates its scale in its first step."""
KEPT = 1.25
"""A plan stays for another round while its step is at most so many times that of the fastest. Wide: the median of the
first few steps is off by 10 % now and then, and a plan that has dropped out cannot come back."""
WORTH = 1.01
"""A lossier plan has to be faster by this factor than a less lossy one."""


class Trial:
    """A tournament between plans, numbered from the least to the most lossy.

    In every round each plan that is left has one turn of `NUM_SETTLING` + `steps` training steps; a round has
    twice the timed steps of the one before. Tell it of each step with `record`. Where that ends a round, the
    workers agree on `seconds()` and pass the result to `end_round`, so that all go on alike.

    Args:
        num_plans: plans to compare.
        rounds: rounds until the winner is chosen; fewer where one plan is left.
        steps: timed steps of a turn in the first round.
    """

    def __init__(self, num_plans: int, rounds: int, steps: int) -> None:
        self._samples: list[list[float]] = [[] for _ in range(num_plans)]
        self._left = list(range(num_plans))
        self._rounds, self._steps = rounds, steps
        self._turn = self._recorded = 0

    @property
    def plan(self) -> int:
        """Number of the plan whose turn it is; of the winner at the end."""
        return self._left[self._turn]

    @property
    def over(self) -> bool:
        """Whether the winner is known."""
        return len(self._left) == 1

    def record(self, seconds: float) -> bool:
        """Take the seconds of a step of `plan`; return whether the round is over."""
        self._recorded += 1
        if self._recorded > NUM_SETTLING:
            self._samples[self.plan].append(seconds)
        if self._recorded < NUM_SETTLING + self._steps:
            return False
        self._recorded = 0
        if self._turn + 1 < len(self._left):
            self._turn += 1
            return False
        return True

    def seconds(self) -> list[float]:
        """Return this worker's median step of each plan that is left."""
        return [statistics.median(self._samples[plan]) for plan in self._left]

    def end_round(self, seconds: Sequence[float]) -> None:
        """Drop the slow plans, or choose the winner after the last round; `seconds` as agreed on, in their order."""
        self._rounds -= 1
        allowed = min(seconds) * (KEPT if self._rounds else WORTH)
        kept = [plan for plan, step in zip(self._left, seconds, strict=True) if step <= allowed]
        self._left = kept if self._rounds else kept[:1]
        self._steps *= 2
        self._turn = 0
