"""Options of the strategy `auto`."""

from dataclasses import dataclass

from horovod_gq.config import MAX_FACTOR_RANK, SMALL_WIDTHS, WIRE_WIDTHS
from pipelines.config import choice, number, require, whole
from pipelines.config.validate import MOST_SECONDS, MOST_STEPS


@dataclass(frozen=True, kw_only=True)
class AutoOptions:
    """Keys of a `methods` entry with `strategy: auto`."""

    wire_bits: tuple[int, ...]
    """Widths of GQ that may be chosen, beside fp32 and fp16."""
    factor_ranks: tuple[int, ...]
    """Ranks of low-rank factors that may be chosen; may be empty."""
    small_bits: int
    """Bits of a value of a small tensor beside GQ or low rank, 8 or 16; 32: fp32."""
    max_error: float
    """Largest share of the gradients that a format may not have delivered after 16 steps (`formats.guard`)."""
    measured_steps: int
    """First steps, in fp32, after which single exchanges are timed in every format."""
    trial_rounds: int
    """Rounds in which the plans then take turns; the slow ones drop out after each."""
    trial_steps: int
    """Training steps that are timed in a plan's turn; every round has twice the turns of the one before."""
    trial_seconds: float
    """Least duration of the first round: short steps have more turns. Long ones have one turn each in it."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        allowed = f"a list of {', '.join(map(str, WIRE_WIDTHS))}"
        known = set(self.wire_bits) <= set(WIRE_WIDTHS)
        require(known and bool(self.wire_bits), "wire_bits", list(self.wire_bits), allowed)
        ranks = all(1 <= rank <= MAX_FACTOR_RANK for rank in self.factor_ranks)
        different = len(set(self.factor_ranks)) == len(self.factor_ranks)
        allowed = f"a list of different whole numbers from 1 to {MAX_FACTOR_RANK}"
        require(ranks and different, "factor_ranks", list(self.factor_ranks), allowed)
        choice("small_bits", self.small_bits, SMALL_WIDTHS)
        number(self, "max_error", above=0.0, most=1.0)
        whole(self, "measured_steps", "trial_steps", most=MOST_STEPS)
        whole(self, "trial_rounds", most=20)  # each has twice the turns of the one before
        number(self, "trial_seconds", least=0.0, most=MOST_SECONDS)
