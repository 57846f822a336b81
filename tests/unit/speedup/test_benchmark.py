"""The benchmark of the speed-up model: which rows of the sweep it compares, and how."""

from typing import Any

import pytest

from benchmarks.speedup_model import predictions, report


def row(link: str, step: float, **other: Any) -> dict[str, Any]:
    return {
        "model": "densenet50",
        "method": "sdp",
        "strategy": "sdp",
        "link": link,
        "workers": 2,
        "oversubscribed": False,
        "step_seconds_median": step,
        "wire_bytes_expected_per_step": 1.25e6,
        **other,
    }


def test_a_prediction_starts_from_the_unshaped_step() -> None:
    # 1.25 MB are 0.1 s on 100 Mbit/s.
    rows = [row("unshaped", 0.2), row("100mbit", 0.25), row("1gbit", 0.21)]
    assert list(predictions(rows)) == [
        ("100mbit", "sdp", pytest.approx(0.3 / 0.25)),
        ("1gbit", "sdp", pytest.approx(0.21 / 0.21)),
    ]
    lines = list(report(rows))
    assert lines[0].split() == [
        "100mbit",
        "all",
        "1.20",
        "(1.20",
        "to",
        "1.20)",
        "0",
        "of",
        "1",
        "within",
        "10%",
    ]
    assert lines[2].split()[:3] == ["1gbit", "all", "1.00"]


@pytest.mark.parametrize("other", [{"workers": 1}, {"oversubscribed": True}, {"strategy": "auto"}])
def test_rows_that_say_nothing_about_a_link_are_left_out(other: dict[str, Any]) -> None:
    assert not list(predictions([row("unshaped", 0.2, **other), row("100mbit", 0.3, **other)]))


def test_what_was_not_timed_on_the_unshaped_link_is_left_out() -> None:
    assert not list(report([row("100mbit", 0.3), row("unshaped", 0.2, method="gq4", strategy="gq")]))
