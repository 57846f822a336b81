"""The study's page: built from hand-made rows, then opened in a real browser."""

import re
from pathlib import Path

import pytest

from pipelines.config import load_section
from pipelines.errors import UserError
from pipelines.experiments.study import StudyConfig
from pipelines.experiments.study.answers.paper import read_paper_run
from pipelines.experiments.study.answers.summary import summarise
from pipelines.results import read_json, write_json
from tests.browser import CHROMIUM, Visit, chromium
from tests.unit.experiments.study.rows import comparison_row, write_study

MILESTONES = (0.5, 0.75)
FIGURES = ["curves", "pareto", "rates", "robustness"]


@pytest.fixture
def config() -> StudyConfig:
    return load_section(StudyConfig, "study")


@pytest.fixture
def results(tmp_path: Path, config: StudyConfig) -> Path:
    write_study(tmp_path)
    summarise(config, MILESTONES, tmp_path)
    return tmp_path


def lines_of(results: Path) -> list[str]:
    return (results / "study/study.md").read_text(encoding="utf-8").splitlines()


def test_page_answers_the_claims_first(results: Path) -> None:
    lines = lines_of(results)
    assert "Deeper is better, on digits: not decided." in lines
    assert "DenseNet-100 beats VGG and EfficientNet, on digits: holds." in lines
    assert any(line.startswith("Deeper is better, on cifar10: not run") for line in lines)
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:2] == ["## The study's claims", "## Comparison: digits"]


def test_a_set_that_one_model_is_trained_on_is_asked_no_claim(results: Path) -> None:
    lines = lines_of(results)
    assert not any("on cifar10_whole: not" in line for line in lines)
    assert "cifar10_whole: comparison of densenet100." in lines


def test_tables_say_what_was_run_and_show_the_rows(results: Path) -> None:
    lines = lines_of(results)
    assert (
        "Run on digits: 1,293 training images, 360 test images, 10 epochs, 3 seeds (1, 2, 3), 1 thread a training."
        in lines
    )
    # densenet100: 98.6, 98.1, 98.9 %; mean 98.533, sample deviation 0.404.
    row = next(line for line in lines if line.startswith("| densenet100 | 769,162 "))
    assert "98.53 ± 0.40 % (n = 3)" in row
    # The bounds of the third seed are the outermost.
    assert "0.9987 [0.9957, 0.9997]" in row
    assert "4.51 %" in row
    # 97.1, 97.2, 97.3 %: the sample deviation is 0.1 points.
    expected = ("97.20 ± 0.10 % (n = 3)", "0.80×", "150.0 MiB")
    changed = next(line for line in lines if line.startswith("| discard_layer_25 "))
    assert all(text in changed for text in expected)


def test_the_table_of_shifted_images(results: Path) -> None:
    lines = lines_of(results)
    # densenet100 98.533 % on average, vgg16_bn 95.467 %; both lose 30 and 60, and 10 and 20 points: 30 on average.
    row = next(
        line for line in lines if line.replace("*", "").startswith("| densenet100 | 68.53 ± 0.40 % (n = 3)")
    )
    # Errors: 1.467 + 45 and 1.467 + 15 points; of vgg16_bn 4.533 + 45 and 4.533 + 15.
    relative = ((1.4667 + 45) / (4.5333 + 45) + (1.4667 + 15) / (4.5333 + 15)) / 2
    for text in ("46.47 %", "16.47 %", "31.47 %", f"{100 * relative:.2f} %"):
        assert text in row.replace("*", "")
    assert "DenseNet-100 is more robust than VGG and EfficientNet, on digits: holds." in lines
    assert any(
        line.startswith("DenseNet-100 is more robust than VGG and EfficientNet, on cifar10: not run")
        for line in lines
    )


def test_the_page_says_how_the_rate_was_tuned(tmp_path: Path, config: StudyConfig) -> None:
    write_study(tmp_path)
    summarise(config, MILESTONES, tmp_path)
    text = "Every model tried the same initial rates, 0.03, 0.1, 0.3, and was given the best on the validation part."
    assert text in lines_of(tmp_path)
    paths = list((tmp_path / "study/runs").glob("compare-*.json"))
    for path in paths:
        rows = read_json(path)
        write_json(path, [row | ({"epochs": 4} if row["experiment"] == "tuning" else {}) for row in rows])
    summarise(config, MILESTONES, tmp_path)
    assert (
        f"{text} Each rate was tried by a whole but shorter training (epochs: 4 instead of 10)."
        in lines_of(tmp_path)
    )
    for path in paths:
        write_json(path, [row for row in read_json(path) if row["learning_rate"] == 0.1])
    summarise(config, MILESTONES, tmp_path)
    assert "One initial rate for all models, 0.1: none was tuned." in lines_of(tmp_path)


def test_the_time_of_a_training_is_that_of_its_steps(results: Path) -> None:
    lines = lines_of(results)
    # 202.03 steps of 0.2 s; the variant's step takes 0.8 of them.
    assert "| 40.4 s |" in next(line for line in lines if line.startswith("| densenet100 | 769,162 "))
    assert any("the models made in turns (commit c0ffee, cpu)" in line for line in lines)
    rows = read_json(results / "study/study.json")
    found = [row["train_seconds"] for row in rows if row["experiment"] == "ablation_summary"]
    assert found == pytest.approx([0.2 * 12930 / 64, 0.8 * 0.2 * 12930 / 64])


def test_models_that_were_not_timed_have_no_time(tmp_path: Path, config: StudyConfig) -> None:
    write_study(tmp_path)
    (tmp_path / "study/runs/steps-digits.json").unlink()
    summarise(config, MILESTONES, tmp_path)
    rows = read_json(tmp_path / "study/study.json")
    kinds = ("comparison_summary", "ablation_summary")
    assert {row["train_seconds"] for row in rows if row["experiment"] in kinds} == {None}
    assert "digits: time of a training step." in lines_of(tmp_path)


def test_what_has_no_rows_is_said_to_be_not_run(results: Path) -> None:
    lines = lines_of(results)
    assert lines.count("cifar10: not run.") == 7
    assert "cifar10: comparison of densenet50." in lines
    assert lines[lines.index("## The paper preset") + 6].startswith("| densenet100: not run | – |")


def test_a_run_of_the_paper_preset_is_shown(tmp_path: Path, config: StudyConfig) -> None:
    write_study(tmp_path)
    row = comparison_row("densenet100", 1, 0.9551) | {"data": "cifar10", "epochs": 300, "num_test": 10_000}
    # Rows of the main pipeline do not name these.
    row = {key: value for key, value in row.items() if key not in ("learning_rate", "threads")}
    others = [row | change for change in ({"epochs": 299}, {"num_test": 9_999}, {"num_parameters": 247_948})]
    write_json(tmp_path / "recognition.json", [*others, row])
    assert read_paper_run(tmp_path) == row
    summarise(config, MILESTONES, tmp_path)
    lines = lines_of(tmp_path)
    assert "95.51 % (n = 1)" in lines[lines.index("## The paper preset") + 6]
    write_json(tmp_path / "recognition.json", others)
    assert read_paper_run(tmp_path) is None


def test_all_rows_are_in_one_file(results: Path) -> None:
    rows = read_json(results / "study/study.json")
    counts = {
        kind: sum(row["experiment"] == kind for row in rows) for kind in {r["experiment"] for r in rows}
    }
    assert counts == {
        "tuning": 21,
        "comparison": 21,
        "curve": 120,
        "ablation": 6,
        "steps": 7,
        "comparison_summary": 7,
        "corruption": 7 * 3 * 4,
        "corruption_summary": 7,
        "ablation_summary": 2,
        "pair": 7 * 6 // 2,
        "claim": 3 * 4 + 2 + 3 + 4 + 4,
    }


def test_every_two_models_are_compared_over_seeds_and_on_the_test_images(results: Path) -> None:
    pairs = {
        (row["first"], row["second"]): row
        for row in read_json(results / "study/study.json")
        if "first" in row
    }
    row = pairs["densenet50", "vgg19_bn"]
    assert row["difference"] == pytest.approx((0.042 + 0.030 + 0.034) / 3)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    # 351, 349 and 352 against 336, 338 and 340 of 360 images.
    line = next(line for line in lines_of(results) if line.startswith("| densenet50 | vgg19_bn "))
    assert "+3.53 points" in line
    assert "3 of 3: densenet50 better in 3" in line


def test_one_seed_is_decided_by_mcnemar(tmp_path: Path, config: StudyConfig) -> None:
    write_study(tmp_path, num_seeds=1)
    summarise(config, MILESTONES, tmp_path)
    lines = lines_of(tmp_path)
    # 351 against 355 of 360: 4 discordant images, p = 0.125, times 2 tests.
    assert any("densenet100 over densenet50" in line and "| 0.25 |" in line for line in lines)
    assert any("98.60 % (n = 1)" in line for line in lines)


def test_a_diverged_run_is_named(tmp_path: Path, config: StudyConfig) -> None:
    write_study(tmp_path)
    path = tmp_path / "study/runs/compare-digits-vgg16_bn.json"
    rows = [row for row in read_json(path) if (row["experiment"], row["seed"]) != ("comparison", 3)]
    write_json(path, [*rows, comparison_row("vgg16_bn", 3, None)])
    summarise(config, MILESTONES, tmp_path)
    assert any("vgg16_bn (1 diverged)" in line and "(n = 2)" in line for line in lines_of(tmp_path))


def test_nothing_run_makes_a_page_that_says_so(tmp_path: Path, config: StudyConfig) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study/digits_curves.svg").write_text("of an earlier run", encoding="utf-8")
    summarise(config, MILESTONES, tmp_path)
    assert lines_of(tmp_path).count("digits: not run.") == 7
    assert not list((tmp_path / "study").glob("*.svg"))


def test_rows_without_their_probabilities_are_refused(tmp_path: Path, config: StudyConfig) -> None:
    write_study(tmp_path)
    (tmp_path / "study/runs/probabilities-digits-vgg16_bn.npz").unlink()
    with pytest.raises(UserError, match=r"probabilities-digits-vgg16_bn\.npz: is missing .*make study"):
        summarise(config, MILESTONES, tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_a_browser_shows_the_page(results: Path) -> None:
    page = results / "study/study.html"
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    with chromium() as browser:
        visit = Visit(browser, page)
        images = visit.page.evaluate("[...document.images].map((i) => i.complete && i.naturalWidth > 0)")
        links = "[...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.hash))"
        assert images == [True] * len(FIGURES)
        assert visit.page.evaluate(links)
        assert visit.page.locator("table").count() == 8
        assert not visit.overflows()
        assert visit.complaints == []
