"""The report page: built from small results, then opened in a real browser."""

import re
import struct
import zlib
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.report import build_report
from pipelines.report.tables import RECOGNITION, shown_recognition
from pipelines.results import Row, reference, write_json
from pipelines.tables import make_table
from tests.browser import CHROMIUM, title_of


def png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
        + chunk(b"IEND", b"")
    )


def figures_of(accuracy: float) -> Row:
    """Test figures with the bounds of their intervals."""
    figures = {"test_accuracy": accuracy, "auc_macro": 0.9987, "auc_micro": 0.9991}
    bounds = {f"{key}_low": value - 0.0005 for key, value in figures.items()}
    return {**figures, **bounds, **{f"{key}_high": value + 0.0004 for key, value in figures.items()}}


def target(method: str, link: float, steps: int | None) -> Row:
    """A row of target.json, 0.5 s a step."""
    return {
        "model": "densenet50",
        "workers": 16,
        "method": method,
        "study_method": method.upper(),
        "link": f"{link:g}mbit",
        "link_mbit_per_second": link,
        "target_accuracy": 0.9,
        "best_accuracy": 0.81,
        "curve_model": "densenet22",
        "steps_to_target": steps,
        "step_seconds": 0.5,
        "seconds_to_target": steps and 0.5 * steps,
        "gigabytes_to_target": steps and 0.25,
        "price_to_target": steps and 0.0123,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    common = {
        "data_checksum": "0123456789abcdef",
        "commit": "c0ffee",
        "device": "cpu",
        "torch_version": "2.13.0",
    }
    recognition = [
        {"model": "densenet<100>", **figures_of(0.9876), "num_parameters": 769162, **common},
        {"model": "vgg16_bn", **figures_of(0.97), "num_parameters": 14_000_000, **common},
    ]
    pair = {"first": "densenet<100>", "second": "vgg16_bn", "accuracy_difference": 0.0176}
    pair |= {"only_first_correct": 9, "only_second_correct": 1, "p_value": 0.02148, "p_value_holm": 0.04297}
    step = {
        f"{part}_seconds_median": 0.01 for part in ("step", "compute", "encode", "communication", "decode")
    }
    distributed = [{"model": "densenet50", "method": "gq4", "workers": 2, **step, **common}]
    speedup = [{"model": "densenet50", "method": "gq4", "link": "100mbit", "acceleration_ratio": 0.5}]
    write_json(tmp_path / "recognition.json", recognition)
    write_json(tmp_path / "recognition_pairs.json", [pair])
    write_json(tmp_path / "distributed.json", distributed)
    write_json(tmp_path / "speedup.json", speedup)
    write_json(tmp_path / "slow_link.json", {"measured": False, "reason": "no bridges here", "rows": []})
    write_json(
        tmp_path / "target.json",
        [target("sdp", 100.0, 16), target("ssp", 100.0, None), target("sdp", 1e4, 16)],
    )
    write_json(tmp_path / "prepare.json", {"name": "digits"})
    (tmp_path / "figures/recognition").mkdir(parents=True)
    for name in ("samples", "recognition/curves", "recognition/roc-vgg16_bn", "step_parts"):
        (tmp_path / f"figures/{name}.png").write_bytes(png())
    return tmp_path


def test_page_is_one_file_with_every_number_and_figure(results: Path) -> None:
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "98.76 % [98.71, 98.80]" in page
    assert "0.9991 [0.9986, 0.9995]" in page
    assert "769,162" in page
    assert "densenet&lt;100&gt;" in page  # names are escaped
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_pictures_of_models_follow_each_other_by_depth(results: Path) -> None:
    for depth in (200, 50, 100):
        (results / f"figures/recognition/roc-densenet{depth}.png").write_bytes(png())
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    names = re.findall(r"ROC per class: (\w+)\.</figcaption>", page)
    assert names == ["densenet50", "densenet100", "densenet200", "vgg16_bn"]


def test_every_two_models_are_tested_on_the_same_images(results: Path) -> None:
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="pairs">') :]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section[: section.index("</section>")])
    assert cells == ["densenet&lt;100&gt;", "vgg16_bn", "+1.76 points", "9", "1", "0.02148", "0.04297"]


def test_one_model_has_no_pairs(results: Path) -> None:
    write_json(results / "recognition_pairs.json", [])
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="pairs">') :]
    assert "One model alone: no pair to test." in section
    assert "<table>" not in section[: section.index("</section>")]


def test_the_claims_of_the_study_are_answered(results: Path) -> None:
    claim = {"data": "digits", "claim": "deeper", "statement": "Deeper is better", "reason": None}
    claim |= {"experiment": "claim", "claim_answer": "not decided"}
    bounds = {"difference": 0.004, "difference_low": -0.001, "difference_high": 0.009}
    test = {"test": "densenet100 over densenet50", "counted": True, "rule": "t interval", "num_pairs": 3}
    rows = [
        {"experiment": "comparison", "commit": "beefcafe"},
        {**claim, "test": None, "answer": "not decided"},
        {**claim, **test, **bounds, "p_value": None, "answer": "not decided"},
    ]
    write_json(results / "study/study.json", rows)
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Deeper is better, on digits: not decided." in page
    assert "commit beefcafe" in page
    assert re.search(r"densenet100 over densenet50.*\+0\.4 points.*\[-0\.1, \+0\.9\]", page)


def claims_of(results: Path) -> str:
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="claims">') :]
    return section[: section.index("</section>")]


def test_without_a_study_of_the_users_own_the_authors_answers_are_shown_as_theirs(results: Path) -> None:
    section = claims_of(results)
    assert "Answered by the authors&#39; run (yours: make study) at commit" in section
    assert "reference/study/study.md" in section
    assert "<table>" in section


def test_claims_without_any_rows_are_said_to_be_not_run(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "REFERENCE", results / "none")
    assert "Not run: make study answers them." in claims_of(results)


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


def test_a_missing_result_says_what_to_run(results: Path) -> None:
    (results / "speedup.json").unlink()
    with pytest.raises(UserError, match=r"speedup\.json: cannot be read .*make repro"):
        build_report(results, results / "report.html")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_a_browser_shows_the_page(results: Path) -> None:
    build_report(results, results / "report.html")
    # The page reports itself: every picture decoded, no column of the tables lost, no horizontal overflow.
    probe = """<script>addEventListener("load", () => {
      const images = [...document.images].map(i => i.complete && i.naturalWidth > 0);
      document.title = JSON.stringify({images, tables: document.querySelectorAll("table").length,
        overflow: document.documentElement.scrollWidth > innerWidth});
    });</script></body>"""
    page = results / "report.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    assert title_of(page) == '{"images":[true,true,true,true],"tables":6,"overflow":false}'


def test_what_a_target_costs_is_told_apart_by_what_was_measured(results: Path) -> None:
    build_report(results, results / "report.html")
    page = (results / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="target"') :]
    for shown in (
        "90% test accuracy",
        "on a link of 100mbit",
        "not reached (best: 81.00 %)",
        "8.0 s",
        "0.0123",
    ):
        assert shown in section, shown
    assert "10000mbit" not in section
    assert "No slow link was measured here, all are predicted: no bridges here." in page
