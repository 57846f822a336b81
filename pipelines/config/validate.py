"""Range checks for the `__post_init__` of a parameter dataclass.

Every count has an upper bound and every number is finite: a slip of the keyboard (10^30 epochs, a wait of `.inf`
seconds) is found when the file is read, not in the middle of a run.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from pipelines.config.show import show
from pipelines.errors import UserError

# The largest values that make sense anywhere, by what is counted; a field may have a smaller one.
MOST_EPOCHS = 100_000
MOST_STEPS = 1_000_000
MOST_BATCH = 1_000_000
MOST_IMAGES = 1_000_000_000
MOST_WORKERS = 10_000
MOST_THREADS = 1_024
MOST_WIDTH = 100_000  # channels, layers, ranks of a matrix
MOST_PIXELS = 512  # side of an image, as in `prepare.image_size`
MOST_SEED = 2**32 - 1  # what every generator in use takes, numpy's oldest included
MOST_SECONDS = 7 * 24 * 3600.0
MOST_CYCLE = 10_000.0  # milliseconds of Horovod's: a step would take longer than any that is worth timing
MOST_ALLOWED = 1000  # characters of an error's list of allowed values


class FieldError(UserError):
    """A field's value is out of range; the loader adds the file and the section to the message."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        # What is allowed may name other values of the file, and these may be of any length.
        words = allowed if len(allowed) <= MOST_ALLOWED else f"{allowed[:MOST_ALLOWED]}..."
        super().__init__(f"{key}: {show(value)} is not allowed; allowed: {words}")
        self.key = key
        self.value = value
        self.allowed = allowed


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raise FieldError unless `condition` holds; `allowed` says in words which values do."""
    if not condition:
        raise FieldError(key, value, allowed)


def choice(key: str, value: object, allowed: Iterable[object]) -> None:
    """Raise FieldError unless `value` is one of `allowed`."""
    options = list(allowed)
    require(value in options, key, value, ", ".join(str(option) for option in options))


def whole(config: object, *keys: str, least: int = 1, most: int, null: bool = False) -> None:
    """Raise FieldError unless each field of `config` called in `keys` lies in `least`..`most`.

    Of a tuple every element must. With `null` a field may be None instead.
    """
    allowed = f"a whole number of at least {least}, at most {most}"
    for key in keys:
        _check_all(config, key, allowed, null, lambda value: least <= value <= most)


def number(
    config: object,
    *keys: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    null: bool = False,
) -> None:
    """Raise FieldError unless each field called in `keys` is finite and within the bounds (`above`, `below`: open).

    Of a tuple every element must. With `null` a field may be None instead.
    """
    bounds = {"of at least": least, "above": above, "at most": most, "below": below}
    words = ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def fits(value: float) -> bool:
        return (
            math.isfinite(value)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )

    for key in keys:
        _check_all(config, key, f"a number {words}", null, fits)


def different(config: object, *keys: str, least: int = 0) -> None:
    """Raise FieldError unless the tuples called in `keys` hold at least `least` values, no two of them equal."""
    for key in keys:
        values = getattr(config, key)
        allowed = "different values" + (f", at least {least} of them" if least else "")
        require(len(set(values)) == len(values) >= least, key, list(values), allowed)


def _check_all(config: object, key: str, allowed: str, null: bool, fits: Callable[[Any], bool]) -> None:
    """Apply `fits` to field `key` of `config`, or to every element of it."""
    value = getattr(config, key)
    if value is None and null:
        return
    if isinstance(value, tuple):
        require(all(map(fits, value)), key, list(value), f"a list, of which each is {allowed}")
        return
    require(fits(value), key, value, f"null or {allowed}" if null else allowed)
