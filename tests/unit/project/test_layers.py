"""Imports point one way: stages -> pipelines -> horovod_gq."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.architecture import missing
from tools.project_imports import ROOT, imported_modules

FORBIDDEN = {
    "horovod_gq": {"pipelines", "stages", "tools"},
    "pipelines": {"stages", "tools"},
    "stages": {"tests", "benchmarks", "tools"},
}
MAX_STAGE_LINES = 80


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_points_back(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        roots = {name.split(".")[0] for name in imported_modules(file)}
        assert not roots & FORBIDDEN[package], (
            f"{file.relative_to(ROOT)} imports {roots & FORBIDDEN[package]}"
        )


def test_only_one_module_of_the_plugin_imports_horovod() -> None:
    importers = [
        file.name
        for file in (ROOT / "horovod_gq").rglob("*.py")
        if any(name.split(".")[0] == "horovod" for name in imported_modules(file))
    ]
    assert sorted(importers) == ["backend.py", "elastic.py"]  # the latter extends a class of Horovod


@pytest.mark.parametrize(
    "stage", sorted((ROOT / "stages").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_stage_is_thin(stage: Path) -> None:
    assert len(stage.read_text(encoding="utf-8").splitlines()) <= MAX_STAGE_LINES


def test_the_picture_of_the_architecture_is_that_of_the_code() -> None:
    subprocess.run([sys.executable, "-m", "tools.architecture", "--check"], cwd=ROOT, check=True)


def test_every_package_of_the_library_has_a_place_in_the_picture() -> None:
    assert not missing()


def test_a_stage_starts_without_libraries_that_it_does_not_need_yet() -> None:
    # Seconds each, in every stage, worker and process of a pool: `make repro` starts a hundred of them.
    slow = "torchvision, torch._dynamo, scipy.stats, sklearn, mlflow"
    code = f"import sys, stages.distributed, stages.train; print(*set({slow!r}.split(', ')) & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
