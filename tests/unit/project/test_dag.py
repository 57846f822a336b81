"""The DAGs and the code agree: every stage names the project files that it imports and the parameters that it loads."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_yaml
from tests.imports import PACKAGES, ROOT, imported_modules, module_file, project_files

STAGES: dict[str, Any] = {
    name: stage
    for file in ("dvc.yaml", "sweep/dvc.yaml", "convergence/dvc.yaml", "study/dvc.yaml")
    for name, stage in load_yaml(ROOT / file)["stages"].items()
}
MODULES = {name: stage["cmd"].split()[2].removeprefix("stages.") for name, stage in STAGES.items()}
# It holds a docstring and nothing else; the stages' own __init__ only changes how Ctrl-C looks.
UNLISTED = {ROOT / "pipelines/__init__.py", ROOT / "stages/__init__.py"}

CURVES = [f"convergence.{key}" for key in ("epochs", "global_batch_size", "model", "methods", "workers")]
OTHERS = ["prepare.*", "study.DATA.*_limit"]
TUNING = ["study.DATA.learning_rates", "study.DATA.tuning_epochs"]
UNUSED: dict[str, list[str]] = {
    # Where a run is logged does not change its results.
    **{stage: ["tracking.*"] for stage in ("prepare", "train", "distributed", "evaluate", "report")},
    "baseline": ["tracking.*", "densenet.*"],  # no baseline is a DenseNet
    # What the rows were made with stands in the rows; the lists of runs say which files to read.
    "speedup": ["tracking.*", "distributed.*"],
    "convergence_summary": [*CURVES[:3], "convergence.parity.*"],
    "parity_summary": [*CURVES, "convergence.parity.sets.*"],
    "parity_table": [*CURVES, "convergence.parity.*"],
    # The other half of the section, and what only its summary reads.
    "converge": ["convergence.parity.*"],
    "parity": [*CURVES, "convergence.parity.margin_points", "convergence.parity.reference"],
    "convergence_data": [*CURVES, "convergence.parity.[!ds]*"],
    # The jobs of a data set load everything; this one trains nothing ...
    "study_prepare": ["densenet.*", "evaluate.*", "recipe.*", "study.*"],
    # ... and these read prepared data, and of their own data set (`DATA`) not what the others vary.
    "compare": [*OTHERS, "study.DATA.curve_*", "study.DATA.ablated_model"],
    "curves": [*OTHERS, "evaluate.*", "study.DATA.models", "study.DATA.ablated_model", *TUNING],
    "ablate": [*OTHERS, "study.DATA.models", "study.DATA.curve_*", *TUNING],
    "study_summary": ["recipe.[!m]*", "recipe.m[eo]*"],  # the milestones are drawn
}
"""Parameters that a stage loads with its sections and whose change need not rerun it, by stage and with the reason."""


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


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of all values that are no mappings."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def loaded_keys(stage: str) -> set[str]:
    """Keys of the sections that the stage's module loads, or a module that it imports directly.

    Parts of a section, which an f-string names, belong to one that is loaded whole, too.
    """
    main = ROOT / "stages" / f"{MODULES[stage]}.py"
    files = [main, *filter(None, map(module_file, imported_modules(main)))]
    calls = [
        node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
    ]
    names = [call.args[1] for call in calls if ast.unparse(call.func) == "load_section"]
    sections = {name.value for name in names if isinstance(name, ast.Constant)}
    assert sections
    return {key for key in leaves(load_yaml(ROOT / "params.yaml")) if key.split(".")[0] in sections}


def listed(stage: str, key: str) -> bool:
    """Whether a change of the parameter reruns the stage, or makes or removes one of its matrix."""
    params = [re.sub(r"\$\{.*?\}", "*", param) for param in STAGES[stage].get("params", [])]
    axes = re.findall(r"\$\{(.*?)\}", str(STAGES[stage].get("matrix")))
    return any(fnmatchcase(key, pattern) for name in (*params, *axes) for pattern in (name, f"{name}.*"))


def unused_patterns(stage: str) -> list[str]:
    kind, _, data = stage.partition("_")
    if kind not in ("compare", "curves", "ablate"):
        return UNUSED.get(stage, [])
    others = [f"study.{other}.*" for other in load_yaml(ROOT / "params.yaml")["study"] if other != data]
    return [pattern.replace("DATA", data) for pattern in UNUSED[kind]] + others


@pytest.mark.parametrize("stage", STAGES)
def test_every_loaded_parameter_is_listed_or_needs_no_rerun(stage: str) -> None:
    unlisted = {key for key in loaded_keys(stage) if not listed(stage, key)}
    patterns = unused_patterns(stage)
    missing = [key for key in unlisted if not any(fnmatchcase(key, pattern) for pattern in patterns)]
    assert not missing, f"add to the params of {stage} in its dvc.yaml: {sorted(missing)}"
    idle = [pattern for pattern in patterns if not any(fnmatchcase(key, pattern) for key in unlisted)]
    assert not idle, f"all of these are params of {stage}: remove them from UNUSED: {idle}"


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
