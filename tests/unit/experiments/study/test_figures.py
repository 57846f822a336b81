"""The study's figures: what is drawn, and that the same rows give the same bytes."""

from pathlib import Path

from pipelines.experiments.study.answers.figures import (
    draw_depth_curves,
    draw_rates,
    rate_drop_epochs,
)
from tests.unit.experiments.study.rows import CURVE_RATES, DEPTHS, curve_rows

MILESTONES = (0.5, 0.75)


def test_curves_name_every_depth_and_rate(tmp_path: Path) -> None:
    rows = [row for model in DEPTHS for rate in CURVE_RATES for row in curve_rows(model, rate)]
    draw_depth_curves(rows, MILESTONES, tmp_path / "a.svg")
    draw_depth_curves(rows, MILESTONES, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    for name in (*DEPTHS, *(f"initial rate {rate:g}" for rate in CURVE_RATES), "the rate drops"):
        assert f">{name}<" in text


def test_the_rate_is_drawn_to_drop_where_the_schedule_drops_it() -> None:
    rows = curve_rows("densenet50", 0.01)
    # Of 10 epochs: at the end of the fifth and in the middle of the eighth, which a run of 6 epochs did not see.
    assert rate_drop_epochs(rows, MILESTONES) == [5.0, 7.5]
    assert rate_drop_epochs(rows[:6], MILESTONES) == [5.0]


def test_a_diverged_run_ends_where_it_diverged(tmp_path: Path) -> None:
    scores = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    rows = curve_rows("densenet50", 0.01)
    lost = curve_rows("densenet50", 0.3)[:3]
    lost[-1] |= dict.fromkeys(scores)
    draw_depth_curves([*rows, *lost], MILESTONES, tmp_path / "curves.svg")
    draw_rates([*rows, *lost], tmp_path / "rates.svg")
    assert ">densenet50<" in (tmp_path / "rates.svg").read_text(encoding="utf-8")
