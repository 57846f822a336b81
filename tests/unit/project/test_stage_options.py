"""A stage refuses options that it does not have, before it does anything."""

import importlib
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tests.imports import ROOT

FOLDER = ROOT / "stages"
STAGES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("given", [["--foo"], ["predict", "--model", "x", "stray"]])
@pytest.mark.parametrize("stage", STAGES)
def test_unknown_options_end_with_status_2_and_the_usage(
    stage: str,
    given: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    if stage == "predict" and "--foo" not in given:
        given = []  # it takes any number of files, but not none
    monkeypatch.chdir(tmp_path)  # no params.yaml here: a stage that went on would end with another status
    monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py", *given])
    module = importlib.import_module(f"stages.{stage}")
    monkeypatch.setitem(sys.modules, "__main__", module)  # which gives the program its name
    if stage == "speedup":  # `predict` answers mistakes in one line, like those in a parameter file
        with pytest.raises(UserError, match=r"\(python -m stages\.speedup predict --help\)"):
            module.main()
    else:
        with pytest.raises(SystemExit) as caught:
            module.main()
        assert caught.value.code == 2
        name = stage.removesuffix(".__main__")
        assert capsys.readouterr().err.startswith(f"usage: python -m stages.{name}")
    assert not list(tmp_path.iterdir())
