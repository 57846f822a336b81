"""The DAGs and the code agree: every stage names exactly the project files that it imports."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_yaml
from tests.imports import PACKAGES, ROOT, imported_modules, project_files

STAGES: dict[str, Any] = {
    name: stage
    for file in ("dvc.yaml", "sweep/dvc.yaml", "convergence/dvc.yaml", "study/dvc.yaml")
    for name, stage in load_yaml(ROOT / file)["stages"].items()
}
MODULES = {name: stage["cmd"].split()[2].removeprefix("stages.") for name, stage in STAGES.items()}
# It holds a docstring and nothing else; the stages' own __init__ only changes how Ctrl-C looks.
UNLISTED = {ROOT / "pipelines/__init__.py", ROOT / "stages/__init__.py"}


def code_dependencies(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.split("/")[0] in PACKAGES]


def covers(dependency: str, file: Path) -> bool:
    path = ROOT / dependency
    return file == path or path in file.parents


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_file_is_a_dependency(stage: str) -> None:
    files = project_files(ROOT / "stages" / f"{MODULES[stage]}.py") - UNLISTED
    missing = [
        str(file.relative_to(ROOT))
        for file in files
        if not any(covers(d, file) for d in code_dependencies(stage))
    ]
    assert not missing, f"add to the deps of {stage} in its dvc.yaml: {sorted(missing)}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dependency_is_imported(stage: str) -> None:
    files = project_files(ROOT / "stages" / f"{MODULES[stage]}.py")
    idle = [d for d in code_dependencies(stage) if not any(covers(d, file) for file in files)]
    assert not idle, f"remove from the deps of {stage} in its dvc.yaml: {idle}"


@pytest.mark.parametrize("pipeline", ["sweep", "convergence", "study"])
def test_make_repro_does_not_wait_for_the_long_pipelines(pipeline: str) -> None:
    """DVC runs whatever writes into a folder that a stage depends on."""
    stages = load_yaml(ROOT / pipeline / "dvc.yaml")["stages"].values()
    outputs = [Path(next(iter(out))) for stage in stages for out in stage["outs"]]
    main = load_yaml(ROOT / "dvc.yaml")["stages"].values()
    dependencies = {Path(dep) for stage in main for dep in stage["deps"]}
    overlapping = [str(out) for out in outputs if dependencies & {out, *out.parents}]
    assert not overlapping


def test_the_unlisted_files_change_no_result() -> None:
    assert imported_modules(ROOT / "pipelines/__init__.py") == set()
    assert imported_modules(ROOT / "stages/__init__.py") == {
        "pipelines",
        "pipelines.entry",
        "pipelines.entry.hide_interrupt_traceback",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_a_module_of_stages(stage: str) -> None:
    assert STAGES[stage]["cmd"].startswith(f"python -m stages.{MODULES[stage]}")


@pytest.mark.parametrize("stage", load_yaml(ROOT / "dvc.yaml")["stages"])
def test_a_stage_of_the_main_dag_is_named_like_its_module(stage: str) -> None:
    assert MODULES[stage] == stage
