"""The report page, built from the committed results."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.report import build_report
from pipelines.report.build import SECTIONS
from pipelines.report.inputs import Inputs
from pipelines.report.page import Section, prose, render_page, script_json
from pipelines.report.sections import answers, links, recognition, target, trust
from pipelines.report.tables import RECOGNITION, shown_recognition
from pipelines.results import Row, reference, write_json
from pipelines.tables import Table, make_table


def figures_of(accuracy: float) -> Row:
    """Test figures with the bounds of their intervals."""
    figures = {"test_accuracy": accuracy, "auc_macro": 0.9987, "auc_micro": 0.9991}
    bounds = {f"{key}_low": value - 0.0005 for key, value in figures.items()}
    return {**figures, **bounds, **{f"{key}_high": value + 0.0004 for key, value in figures.items()}}


def test_page_is_one_file_with_every_number(page: Path, results: Path) -> None:
    text = page.read_text(encoding="utf-8")
    row = json.loads((results / "recognition.json").read_text())[0]
    assert f"{100 * row['test_accuracy']:.2f} % [" in text
    assert f"{row['num_parameters']:,}" in text
    assert "densenet&lt;50&gt;" in text  # names are escaped, in the page and in the data of plots
    assert "densenet<50>" not in text
    assert text.count("data:image/png;base64,") == 1  # the samples; all else is drawn
    markup = text.partition('id="plot-config"')[0]  # the library follows
    assert not re.search(r'(src|href)="(?!data:|#)', markup)
    assert len(text) < 4e6


def test_findings_come_first_and_samples_last(page: Path) -> None:
    sections = re.findall(r'<section id="([\w-]+)"', page.read_text(encoding="utf-8"))
    assert sections[:2] == ["answers", "headline"]
    assert sections[-1] == "data"
    assert len(sections) == len(SECTIONS)


def test_a_page_without_plots_carries_no_plotting_library() -> None:
    text = render_page("Title", "Subtitle", [("commit", "c0ffee")], [Section("one", "One", ["`make` it."])])
    assert "<script" not in text
    assert "<code>make</code> it." in text
    assert len(text) < 2e4


def test_text_and_data_cannot_break_out_of_their_elements() -> None:
    assert prose("a <b> `<c>`") == "a &lt;b&gt; <code>&lt;c&gt;</code>"
    data = {"name": "</script><script>"}
    assert "<" not in script_json(data)
    assert json.loads(script_json(data)) == data


def cells(table: Table | None) -> list[list[str]]:
    assert table is not None
    return [[cell.text for cell in row] for row in table.rows]


def test_every_two_models_are_tested_on_the_same_images(results: Path) -> None:
    table = recognition.section(Inputs(results)).details[1].table
    num_models = len(json.loads((results / "recognition.json").read_text()))
    assert len(cells(table)) == num_models * (num_models - 1) / 2
    assert cells(table)[0] == ["densenet<50>", "densenet100", "+0.668 points", "5", "2", "0.4531", "1"]


class Given(Inputs):
    """Inputs some of which a test gives."""

    def __init__(self, folder: Path, **given: Any) -> None:
        super().__init__(folder)
        self.__dict__.update(given)


def test_one_model_has_no_pairs(results: Path) -> None:
    detail = recognition.section(Given(results, pairs=[])).details[1]
    assert detail.table is None
    assert list(detail.paragraphs) == ["One model alone: no pair to test."]


def test_models_keep_their_order_in_every_picture(results: Path) -> None:
    confusion = recognition.section(Inputs(results)).plots[-1]
    names = [row["model"] for row in Inputs(results).recognition]
    assert [panel.title for panel in confusion.panels] == names


def test_accelerations_by_link_are_those_of_the_rows(results: Path) -> None:
    table = links.section(Inputs(results)).details[0].table
    rows = Inputs(results).speedup
    first = [f"{row['acceleration_ratio']:.2f}×" for row in rows if row["method"] == rows[0]["method"]][:1]
    assert cells(table)[0][:3] == [rows[0]["model"], rows[0]["method"], *first]
    assert len(cells(table)) == len({(row["model"], row["method"]) for row in rows})


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which only one claim of the study was answered."""
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "none")
    claim = {"data": "digits", "claim": "deeper", "statement": "Deeper is better", "reason": None}
    claim |= {"experiment": "claim", "claim_answer": "not decided"}
    bounds = {"difference": 0.004, "difference_low": -0.001, "difference_high": 0.009}
    test = {"test": "densenet100 over densenet50", "counted": True, "rule": "t interval", "num_pairs": 3}
    rows = [
        {"experiment": "comparison", "commit": "beefcafe"},
        {**claim, "test": None, "answer": "not decided"},
        {**claim, **test, **bounds, "p_value": None, "answer": "not decided"},
    ]
    write_json(tmp_path / "study/study.json", rows)
    return tmp_path


def test_a_claim_has_its_answer_and_its_interval_in_one_sentence(study: Path) -> None:
    section = answers.section(Inputs(study))
    last = section.verdicts[-1]
    assert (last.answer, last.claim) == ("not decided", "Deeper is better, on digits")
    assert last.evidence == "densenet100 over densenet50: +0.40 points (−0.10 to +0.90)."
    assert "commit beefcafe" in section.details[0].paragraphs[0]
    assert [verdict.answer for verdict in section.verdicts[:-1]] == ["not run"] * 3


def test_without_a_study_of_the_users_own_the_authors_answers_are_shown_as_theirs(tmp_path: Path) -> None:
    section = answers.section(Inputs(tmp_path))
    assert "answered by the authors' run (yours: make study) at commit" in section.details[0].paragraphs[0]
    found = {verdict.answer for verdict in section.verdicts}
    assert {"holds", "not decided"} <= found <= {"holds", "not decided", "does not hold", "not run"}
    assert section.details[0].table is not None


def test_nothing_run_is_said_to_be_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "none")
    section = answers.section(Inputs(tmp_path))
    assert [verdict.answer for verdict in section.verdicts] == ["not run"] * 4


@pytest.mark.parametrize(
    ("ratio", "low", "high", "reached", "answer"),
    [
        (2.0, 1.5, 2.7, 3, "holds"),
        (1.1, 0.9, 1.4, 3, "not decided"),
        (0.8, 0.7, 0.9, 3, "does not hold"),
        (1.2, None, None, 1, "not decided"),
        (None, None, None, 2, "does not hold"),
    ],
)
def test_time_to_accuracy_is_answered_by_its_interval(
    ratio: float | None, low: float | None, high: float | None, reached: int, answer: str, tmp_path: Path
) -> None:
    row = {"model": "m", "method": "gq4_bucketed", "reference": "sdp", "link": "100mbit", "num_seeds": 3}
    row |= {"num_reached": reached, "speed_up": ratio, "speed_up_low": low, "speed_up_high": high}
    write_json(tmp_path / "time_to_accuracy/time_to_accuracy.json", [row | {"method": "sdp"}, row])
    (verdict,) = [one for one in answers.section(Inputs(tmp_path)).verdicts if "sooner with m" in one.claim]
    assert verdict.answer == answer
    assert f"{reached} of 3 seeds reach it." in verdict.evidence


def sweep_rows(model: str, rounds: list[float]) -> list[Row]:
    """Rows of plain sums, whose rounds take a second, and of GQ."""
    row = {"model": model, "link": "1gbit", "workers": 2, "oversubscribed": False}
    return [
        {**row, "method": "sdp", "step_seconds_by_round": [1.0] * len(rounds)},
        {**row, "method": "gq4_bucketed", "step_seconds_by_round": rounds},
    ]


@pytest.mark.parametrize(
    ("rounds", "answer"),
    [
        ([0.5] * 8, "holds"),
        ([2.0] * 8, "does not hold"),
        ([0.5, 2.0] * 4, "not decided"),
        ([0.5] * 4, "not decided"),  # too few for an interval
    ],
)
def test_faster_is_answered_by_the_interval_of_the_median_ratio(
    tmp_path: Path, rounds: list[float], answer: str
) -> None:
    write_json(tmp_path / "sweep/sweep.json", [*sweep_rows("a", [0.5] * 8), *sweep_rows("b", rounds)])
    verdict = answers.section(Inputs(tmp_path)).verdicts[0]
    assert verdict.answer == answer
    assert verdict.claim == "GQ with 4 bits is faster than plain sums on 1 Gbit/s"


@pytest.mark.parametrize(
    ("interval", "equivalent", "answer"),
    [
        ((-0.2, 0.3), True, "holds"),
        ((-1.9, -0.6), False, "does not hold"),
        ((0.6, 1.9), False, "does not hold"),
        ((-0.9, 0.3), False, "not decided"),
    ],
)
def test_equal_accuracy_is_answered_by_the_equivalence_test(
    tmp_path: Path, interval: tuple[float, float], equivalent: bool, answer: str
) -> None:
    low, high = interval
    row = {"data": "digits", "method": "gq8_bucketed", "num_seeds": 9, "margin_points": 0.5}
    row |= {
        "difference_points": (low + high) / 2,
        "difference_low_points": low,
        "difference_high_points": high,
    }
    write_json(tmp_path / "sweep/sweep.json", [])
    write_json(tmp_path / "convergence/parity.json", [row | {"equivalent": equivalent}])
    assert answers.section(Inputs(tmp_path)).verdicts[1].answer == answer


def test_counted_bytes_are_compared_with_expected_ones(tmp_path: Path) -> None:
    rows = [
        {"wire_bytes_expected_per_step": 2e5, "wire_bytes_counted_per_step": counted}
        for counted in (2e5, 2.09e5, 2.2e5)
    ]
    rows.append(
        {"wire_bytes_expected_per_step": 1e3, "wire_bytes_counted_per_step": 9e9}
    )  # mostly negotiation
    write_json(tmp_path / "sweep/sweep.json", rows)
    assert "within 5 % in 2 of 3 measurements" in " ".join(trust.section(Inputs(tmp_path)).paragraphs)


def test_a_long_roc_curve_keeps_its_ends_and_its_shape() -> None:
    curve = [{"fpr": index / 999, "tpr": min(1.0, index / 99)} for index in range(1000)]
    thin = recognition.thinned(curve)
    assert len(thin) == recognition.MOST_POINTS
    assert (thin[0], thin[-1]) == (curve[0], curve[-1])
    assert recognition.zoom_of([curve]) == 0.1
    assert recognition.zoom_of([curve, [{"fpr": x / 10, "tpr": x / 10} for x in range(11)]]) == 1.0


def test_the_best_of_a_column_is_marked_within_its_group() -> None:
    rows = [
        {"model": "a", **figures_of(0.9), "num_parameters": 2},
        {"model": "b", **figures_of(0.8), "num_parameters": 1},
    ]
    rows = shown_recognition(rows)
    table = make_table(rows, RECOGNITION)
    best = [[cell.best for cell in row] for row in table.rows]
    headings = table.headings
    assert best[0][headings.index("test accuracy")]
    assert not best[1][headings.index("test accuracy")]
    assert best[1][headings.index("parameters")]
    alone = make_table(rows, RECOGNITION, group="model")
    assert not any(cell.best for row in alone.rows for cell in row)


def test_a_missing_result_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prepare\.json|recognition\.json: cannot be read .*make repro"):
        build_report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_what_a_target_costs_is_told_apart_by_what_was_measured(results: Path) -> None:
    section = target.section(Inputs(results))
    rows = cells(section.table)
    # The slowest link alone: 16 steps of 0.5 s.
    assert [row[:4] for row in rows] == [
        ["densenet50", "16", "SDP", "sdp"],
        ["densenet50", "16", "SSP", "ssp"],
        ["densenet50", "4", "SDP", "sdp"],
    ]
    assert rows[0][4:] == ["16", "densenet22", "500.0 ms", "8.0 s", "0.25", "0.0123"]
    assert rows[1][4] == "not reached (best: 81.00 %)"
    assert "The target is 90% test accuracy on the digits, the link 100mbit." in section.paragraphs[0]


def test_the_page_says_whether_a_slow_link_was_measured(results: Path, tmp_path: Path) -> None:
    (sentence,) = [text for text in links.section(Inputs(results)).paragraphs if "slow link" in text]
    assert sentence == "No slow link was measured here, all are predicted: no bridges here."
    shutil.copytree(results, tmp_path / "results")
    row = {"model": "densenet100", "method": "gq4_bucketed", "link": "100mbit", "workers": 2}
    write_json(tmp_path / "results/slow_link.json", {"measured": True, "reason": None, "rows": [row]})
    texts = links.section(Inputs(tmp_path / "results")).paragraphs
    assert any(
        text.startswith("Measured on an emulated link: densenet100 gq4_bucketed on 100mbit.")
        for text in texts
    )
