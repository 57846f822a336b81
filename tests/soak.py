"""How often a test tries: some times in `make test`, often where the environment variable GQBENCH_SOAK is set."""

import os

SOAK = bool(os.environ.get("GQBENCH_SOAK"))


def times(quick: int, long: int) -> int:
    """Return `quick`, or `long` in a soak."""
    return long if SOAK else quick
