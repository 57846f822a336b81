"""The accuracy guard of `auto`: how much of the gradients a format has not delivered after some steps.

With error feedback a lossy format drops nothing, it delays: the average that it applies in t steps is the sum of the
gradients less the mean residual of the workers. The share of the sum that is still missing is measured on real steps:

    error = |e_t| / |a_1 + ... + a_t + e_t|,

a the averages that were applied, e_t the workers' mean residual after t = `GUARD_STEPS` steps. It is 0 for exact sums
and 1 for a format that delivers nothing. Both norms are those of a sample of the values, the same on all workers.
"""

from collections.abc import Iterable, Sequence

import torch

from horovod_gq.collectives import Collectives
from pipelines.parallel.formats.pool import Group

GUARD_STEPS = 16
"""Steps of a format, from an empty residual on."""
SAMPLED_VALUES = 65_536
"""About so many values of all groups together: a norm's standard error is then below one percent."""


class Guard:
    """Measures formats one after another; `current` is the one that is to be used now, None at the end.

    Args:
        formats: to be measured, in this order.
        groups: what travels in them.
        max_error: largest error of a format that is allowed.
        steps: of a format.
    """

    def __init__(
        self,
        formats: Sequence[str],
        groups: Sequence[Group],
        max_error: float,
        steps: int = GUARD_STEPS,
    ) -> None:
        self._left = list(formats)
        self._groups, self._max_error = groups, max_error
        self._stride = max(1, sum(group.num_values for group in groups) // SAMPLED_VALUES)
        self._due, self._steps = steps, 0
        self._delivered: torch.Tensor | None = None
        self.errors: dict[str, float] = {}
        """By format that has been measured."""

    @property
    def current(self) -> str | None:
        """The format whose turn it is."""
        return self._left[0] if self._left else None

    def allows(self, chosen: str) -> bool:
        """Whether a format's error is within the bound; one that was not measured has none."""
        return self.errors.get(chosen, 0.0) <= self._max_error

    def record(self) -> bool:
        """Take the averages of a step, which the gradients hold; return whether the format has made its steps."""
        averages = self._sample(
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for group in self._groups
            for parameter in group.parameters
        )
        self._delivered = averages if self._delivered is None else self._delivered.add_(averages)
        self._steps += 1
        return self._steps == self._due

    def judge(self, residuals: dict[str, torch.Tensor], link: Collectives) -> None:
        """Note the error of the current format and go on to the next one (a collective).

        `residuals` are this worker's, by tensor name.
        """
        assert self._delivered is not None
        mine = self._sample(residuals[name] for group in self._groups for name in group.names)
        missing = link.start_sum(mine, "guard").wait() / link.workers
        total = float(torch.linalg.vector_norm(self._delivered + missing))
        error = float(torch.linalg.vector_norm(missing)) / total if total > 0.0 else 0.0
        self.errors[self._left.pop(0)] = error
        self._steps, self._delivered = 0, None

    def _sample(self, tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.reshape(-1)[:: self._stride] for tensor in tensors])
