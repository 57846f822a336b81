"""What a missing or broken result file tells its reader to run."""

from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.results import read_csv, read_json


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("results/recognition.json", "make repro"),
        ("results/train/densenet50.json", "make repro"),
        ("results/sweep/cells/densenet50-100mbit.json", "make sweep"),
        ("results/sweep/sweep.json", "make sweep"),
        ("checkpoints/sweep/densenet50-100mbit-2.json", "make sweep"),
        ("results/convergence/runs/sdp-8.json", "make convergence"),
        ("results/convergence/parity/digits/sdp.json", "make convergence"),
        ("data/convergence/digits/meta.json", "make convergence"),
        ("/home/me/study/results/train/densenet50.json", "make repro"),
        ("/home/me/results/gqbench/results/study/runs/compare-digits-densenet50.json", "make study"),
        ("results/related/runs/dacnn-digits.json", "make related"),
        ("elsewhere.json", "make repro"),
    ],
)
def test_a_missing_file_names_the_command_that_makes_it(
    path: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for read in (read_json, read_csv):
        with pytest.raises(
            UserError, match=rf"cannot be read \(No such file or directory\); run `{command}` first"
        ):
            read(Path(path))


def test_a_broken_file_names_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("results/convergence/parity/digits.json")
    path.parent.mkdir(parents=True)
    path.write_text("[{")
    with pytest.raises(UserError, match=r"no valid JSON .*; remove it and run `make convergence`"):
        read_json(path)
