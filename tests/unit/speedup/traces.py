"""A small trace with round numbers, and networks for it."""

from typing import Any

from hypothesis import strategies as st

from pipelines.config import load_yaml
from pipelines.parallel.patterns import NamedShape
from pipelines.parallel.traces.trace import FREE, Codec, Trace
from tests.imports import ROOT

METHODS: dict[str, Any] = load_yaml(ROOT / "params.yaml")["methods"]
TENSORS: tuple[NamedShape, ...] = (
    ("first.weight", (64, 3, 3, 3)),
    ("first.bias", (64,)),
    ("second.weight", (512, 640)),
    ("second.bias", (512,)),
    ("third.weight", (512, 512)),
    ("last.weight", (10, 512)),
    ("last.bias", (10,)),
)
"""Three of GQ's buckets: two of 2 MiB at most, and the small tensors."""


def make_trace(codec: Codec = FREE, methods: Any = METHODS) -> Trace:
    """A step of 100 ms: 30 forward, 60 backward, 10 update; gradients come evenly, the last tensor's first."""
    count = len(TENSORS)
    return Trace(
        model="toy",
        batch_size=8,
        tensors=TENSORS,
        needed_seconds=tuple(0.03 * number / count for number in range(count)),
        ready_seconds=tuple(0.06 * (count - number) / count for number in range(count)),
        forward_seconds=0.03,
        backward_seconds=0.06,
        update_seconds=0.01,
        codecs={
            method: Codec(**{**vars(codec), "entry": entry})
            for method, entry in methods.items()
            if method != "auto"
        },
        provenance={"commit": "test"},
    )


WORKERS = st.sampled_from([2, 3, 4, 7, 8, 16, 64])
# By decades: evenly drawn, nearly all links would be fast ones.
BANDWIDTHS = st.floats(min_value=6.0, max_value=12.0).map(lambda exponent: 10.0**exponent)
LATENCIES = st.one_of(
    st.just(0.0), st.floats(min_value=-7.0, max_value=-2.0).map(lambda exponent: 10.0**exponent)
)
