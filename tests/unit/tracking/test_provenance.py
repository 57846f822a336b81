import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import provenance as module
from pipelines.provenance import commit, provenance


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: Any) -> Any:
    """A git repository with one commit in place of this one; yields a function that runs git in it."""
    monkeypatch.setattr(module, "_REPOSITORY", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.invalid")

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    commit.cache_clear()
    yield git
    commit.cache_clear()


def test_commit_and_dirt(repository: Any, tmp_path: Path) -> None:
    assert commit() == "unknown"
    repository("init", "-q")
    for name in ("code.py", "results/rows.json", "dvc.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    repository("add", ".")
    repository("commit", "-qm", "x")
    head = repository("rev-parse", "--short=12", "HEAD")
    # What a pipeline run writes, and files that git does not know, make no other code.
    for name in ("results/rows.json", "dvc.lock", "notes.txt"):
        (tmp_path / name).write_text("new")
    commit.cache_clear()
    assert commit() == head
    (tmp_path / "code.py").write_text("new")
    commit.cache_clear()
    assert commit() == f"{head}-dirty"


def test_row_fields() -> None:
    row = provenance("cpu")
    assert row["torch_version"] == torch.__version__
    assert {"commit", "device", "python_version", "numpy_version", "scikit_learn_version"} <= set(row)
    assert row["device"].endswith(f"{torch.get_num_threads()} threads")
