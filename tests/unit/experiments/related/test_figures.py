"""The picture of a system: a panel a setting, a label a variant."""

import re
from pathlib import Path

from pipelines.experiments.related.answers.figures import draw_bytes
from pipelines.results import Row


def row(variant: str, role: str = "system", workers: float | None = None) -> Row:
    accuracy = {
        f"test_accuracy_{key}": value for key, value in {"mean": 0.5, "low": 0.4, "high": 0.6}.items()
    }
    fields = {"compressed_bytes_per_step_mean": 1000.0, "workers_test_accuracy_mean": workers}
    return {"variant": variant, "role": role, **accuracy, **fields}


def texts(path: Path) -> list[str]:
    """Text stays text in our SVG files."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text(encoding="utf-8"))


def test_variants_of_several_settings_have_a_panel_each_and_share_their_labels(tmp_path: Path) -> None:
    rows = [
        row(f"{name}_{noise}") for noise in ("pair45", "symmetric20") for name in ("plain", "ldce_dropped")
    ]
    settings = {one["variant"]: one["variant"].split("_")[-1] for one in rows}
    draw_bytes(rows, tmp_path / "panels.svg", settings)
    shown = texts(tmp_path / "panels.svg")
    for text in ("pair45", "symmetric20", "plain", "ldce_dropped", "test accuracy in %"):
        assert shown.count(text) == 1, text
    assert shown.count("bytes a step under GQ") == 2


def test_without_settings_there_is_one_panel(tmp_path: Path) -> None:
    rows = [
        row("compact", "baseline", workers=0.7),
        row("ck_fc"),
        row("failed") | {"test_accuracy_mean": None},
    ]
    draw_bytes(rows, tmp_path / "one.svg")
    shown = texts(tmp_path / "one.svg")
    assert [shown.count(text) for text in ("compact", "ck_fc", "failed", "bytes a step under GQ")] == [
        1,
        1,
        0,
        1,
    ]
