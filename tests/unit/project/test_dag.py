"""The DAGs and the code agree: every stage names the project files that it imports and the parameters that it loads."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import load_yaml
from pipelines.experiments.related.config import ALL_SETS, DATA_SETS
from pipelines.results import EXPERIMENTS
from pipelines.training.sections import SharedSections
from tools.dependencies import PIPELINES, stage_module, with_dependencies
from tools.project_imports import ROOT, imported_modules, module_file

STAGES: dict[str, Any] = {
    f"{file.parent.name}:{name}" if file.parent != ROOT else name: stage
    for file in PIPELINES
    for name, stage in load_yaml(file)["stages"].items()
}

CURVES = [f"convergence.{key}" for key in ("epochs", "global_batch_size", "model", "methods", "workers")]
OTHERS = ["prepare.*", "study.DATA.t*_limit", "study.DATA.image_size", "study.DATA.source"]
CORRUPTIONS = "study.DATA.corruption*"
TUNING = ["study.DATA.learning_rates", "study.DATA.tuning_epochs"]
RELATED = {data: [other for other in ALL_SETS if other != data] for data in DATA_SETS}
UNUSED: dict[str, list[str]] = {
    # Where a run is logged does not change its results.
    **{stage: ["tracking.*"] for stage in ("prepare", "train", "evaluate", "report")},
    # How long a rank may be silent or late ends a run or does not; it changes no result.
    "distributed": ["tracking.*", "distributed.silence_*_seconds", "distributed.stall_*_seconds"],
    "baseline": ["tracking.*", "densenet.*"],  # no baseline is a DenseNet
    # The cells take their workers and batches from the distributed runs, and have steps of their own.
    "slow_link": [
        *(f"distributed.{key}" for key in ("epochs", "local_steps", "network_interface", "warmup_steps")),
        "distributed.trace_*",
        "distributed.silence_*_seconds",
        "distributed.stall_*_seconds",
    ],
    # What the rows were made with stands in the rows; the lists of runs say which files to read.
    "speedup": ["tracking.*", "distributed.*"],
    "convergence:summarise": [*CURVES[:3], "convergence.parity.*"],
    "convergence:summarise_parity": [*CURVES, "convergence.parity.sets.*"],
    "convergence:parity_table": [*CURVES, "convergence.parity.*"],
    # The other half of the section, and what only its summary reads.
    "convergence:curve": ["convergence.parity.*"],
    "convergence:parity": [*CURVES, "convergence.parity.margin_points", "convergence.parity.reference"],
    "convergence:prepare_parity": ["densenet.*", "recipe.*", *CURVES, "convergence.parity.[!ds]*"],
    # This one prepares, these train on what it has prepared; only the summary compares.
    "time_to_accuracy:prepare": [
        *(f"time_to_accuracy.{key}.*" for key in ("augment", "models")),
        *(f"time_to_accuracy.{key}" for key in ("cycle_milliseconds", "link", "margin_points", "methods")),
        *(f"time_to_accuracy.{key}" for key in ("reference", "seeds")),
    ],
    "time_to_accuracy:train": [
        *(f"time_to_accuracy.{key}" for key in ("data", "image_size", "margin_points", "reference")),
        "time_to_accuracy.*_limit",
    ],
    # The jobs of a data set load everything; this one trains nothing ...
    "study:prepare": ["densenet.*", "evaluate.*", "recipe.*", "study.*"],
    # ... and these read prepared data, and of their own data set (`DATA`) not what the others vary.
    "study:compare": [*OTHERS, "study.DATA.curve_*", "study.DATA.ablated_*"],
    "study:curves": [
        *OTHERS,
        "evaluate.*",
        "study.DATA.models",
        "study.DATA.ablated_*",
        *TUNING,
        CORRUPTIONS,
    ],
    "study:ablate": [*OTHERS, "study.DATA.models", "study.DATA.curve_*", *TUNING, CORRUPTIONS],
    "study:time": ["prepare.*", "evaluate.*", "study.*"],  # no other value of the section changes a step
    # The further systems: a data set's own limits shape what is prepared, the rest how it is trained.
    "related:prepare": [
        *(
            "densenet.*",
            "evaluate.*",
            "recipe.*",
            "related.*.epochs",
            "related.*.tuning_epochs",
            "related.*.augment.*",
        ),
        *("related.[!dfcp]*", "related.compressed", "related.codecs.*"),
    ],
    **{
        f"related:{data}": [
            "related.*_limit",
            "related.*.image_size",
            "prepare.*",  # what it changes is in the prepared data; the images of a source follow from the same values
            "related.*.source",
            *(f"related.{one}.*" for one in others),
            "related.codecs.*",
        ]
        for data, others in RELATED.items()
    },
    "related:codec": [
        *("related.*_limit", "related.*.image_size", "related.*.source", "related.systems.*"),
        "prepare.*",  # what it changes is in the prepared data
    ],
    "related:summarise": ["related.[!s]*", "related.seeds"],
    "study:summarise": ["recipe.[!m]*", "recipe.m[eo]*"],  # the milestones are drawn
}
"""Parameters that a stage loads with its sections and whose change need not rerun it, by stage and with the reason."""


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.parent.name)
def test_every_stage_depends_on_what_its_module_imports(path: Path) -> None:
    """An edit reruns what it changes, and a new module costs nobody a line: `make deps` writes the lists."""
    text = path.read_text(encoding="utf-8")
    assert with_dependencies(text) == text, f"{path.relative_to(ROOT)} is stale; run make deps"


def test_a_new_import_makes_the_dependencies_stale() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    without = text.replace("      - pipelines/config\n", "", 1)
    assert without != text
    assert with_dependencies(without) == text


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
    main = stage_module(STAGES[stage])
    files = [main, *filter(None, map(module_file, imported_modules(main)))]
    calls = [
        node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
    ]
    names = [call.args[1] for call in calls if ast.unparse(call.func) == "load_section"]
    sections = {name.value for name in names if isinstance(name, ast.Constant)}
    if any(ast.unparse(call.func) == "shared_sections" for call in calls):
        sections |= SharedSections.__annotations__.keys() - {"data_folder"}
    assert sections
    return {key for key in leaves(load_yaml(ROOT / "params.yaml")) if key.split(".")[0] in sections}


def listed(stage: str, key: str) -> bool:
    """Whether a change of the parameter reruns the stage, or makes or removes one of its matrix."""
    params = [re.sub(r"\$\{.*?\}", "*", param) for param in STAGES[stage].get("params", [])]
    axes = re.findall(r"\$\{(.*?)\}", str(STAGES[stage].get("matrix")))
    return any(fnmatchcase(key, pattern) for name in (*params, *axes) for pattern in (name, f"{name}.*"))


def unused_patterns(stage: str) -> list[str]:
    kind, _, data = stage.partition("_")
    if kind not in ("study:compare", "study:curves", "study:ablate"):
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


EXPERIMENT_STAGES = [name for name in STAGES if ":" in name]


@pytest.mark.parametrize("stage", EXPERIMENT_STAGES)
def test_an_experiment_writes_into_folders_of_its_own(stage: str) -> None:
    """DVC runs whatever writes into a folder that a stage depends on: `make repro` must not start an experiment."""
    experiment = stage.partition(":")[0]
    assert STAGES[stage]["outs"]
    for out in STAGES[stage]["outs"]:
        folder, name, *_ = Path(out if isinstance(out, str) else next(iter(out))).parts
        assert (folder in ("results", "data", "checkpoints"), name) == (True, experiment), out


def test_the_main_pipeline_depends_on_no_folder_of_an_experiment() -> None:
    main = [stage for name, stage in STAGES.items() if name not in EXPERIMENT_STAGES]
    dependencies = {Path(dep) for stage in main for dep in stage["deps"]}
    reserved = {Path(folder) / name for folder in ("results", "data", "checkpoints") for name in EXPERIMENTS}
    assert not {dep for dep in dependencies for path in reserved if dep == path or dep in path.parents}


def test_the_experiments_are_those_that_messages_name() -> None:
    assert {path.parent.name for path in PIPELINES[1:]} == set(EXPERIMENTS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in (*EXPERIMENTS, "repro"):
        assert f"\n{command}: " in makefile


def test_the_unlisted_files_change_no_result() -> None:
    assert imported_modules(ROOT / "stages/__init__.py") == {
        "pipelines",
        "pipelines.entry",
        "pipelines.entry.hide_interrupt_traceback",
    }


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in EXPERIMENT_STAGES])
def test_a_stage_of_the_main_dag_is_named_like_its_module(stage: str) -> None:
    assert STAGES[stage]["cmd"].startswith(f"python -m stages.{stage}")
