"""Every section of params.yaml with the dataclass that it becomes."""

from pathlib import Path
from typing import Any

from pipelines.config import load_yaml, section_of
from pipelines.config.show import show_key
from pipelines.data.config import PrepareConfig
from pipelines.data.transforms import TRANSFORMS
from pipelines.errors import UserError
from pipelines.evaluation.config import EvaluateConfig
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.related import RelatedConfig
from pipelines.experiments.related.systems import build_system
from pipelines.experiments.study import StudyConfig
from pipelines.experiments.sweep import MoreWorkersConfig, SlowLinkConfig, SweepConfig
from pipelines.experiments.time_to_accuracy import TimeToAccuracyConfig
from pipelines.models import find_factory
from pipelines.models.config import DenseNetConfig
from pipelines.parallel.config import DistributedConfig
from pipelines.parallel.strategies import build_method
from pipelines.speedup import SpeedupConfig
from pipelines.tracking import TrackingConfig
from pipelines.training.config import BaselineConfig, RecipeConfig, TrainConfig

SECTIONS: dict[str, type] = {
    "prepare": PrepareConfig,
    "densenet": DenseNetConfig,
    "recipe": RecipeConfig,
    "train": TrainConfig,
    "baseline": BaselineConfig,
    "distributed": DistributedConfig,
    "evaluate": EvaluateConfig,
    "speedup": SpeedupConfig,
    "slow_link": SlowLinkConfig,
    "sweep": SweepConfig,
    "more_workers": MoreWorkersConfig,
    "convergence": ConvergenceConfig,
    "time_to_accuracy": TimeToAccuracyConfig,
    "study": StudyConfig,
    "related": RelatedConfig,
    "tracking": TrackingConfig,
}
"""All but `methods`, whose entries are checked by the strategy that each names."""


def read_sections(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the sections of the file at `path` that are valid, and a line for each problem.

    Under `methods` stand the options of the valid methods by name. Nothing is raised for a mistake of the user.
    """
    try:
        document = load_yaml(path)
    except UserError as error:
        return {"methods": {}}, [str(error)]
    return check_sections(document, path)


def check_sections(document: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Do the same with a `document` that was read from `path`."""
    sections: dict[str, Any] = {}
    problems: list[str] = []
    for name, cls in SECTIONS.items():
        try:
            sections[name] = section_of(document, cls, name, path)
        except UserError as error:
            problems.append(str(error))
    sections["methods"], wrong = _check_methods(document, path)
    wrong += _check_systems(sections, path)
    known = [*SECTIONS, "methods"]
    unknown = [show_key(key) for key in document if key not in known]
    problems += [*wrong, *(f"{path}: {key}: unknown section; allowed: {', '.join(known)}" for key in unknown)]
    return sections, problems


def _check_systems(sections: dict[str, Any], path: Path) -> list[str]:
    """Return a line for each system whose parameters are not allowed; takes `related` out of `sections` then."""
    problems = [
        f"{path}: {problem}"
        for name in _systems_of(sections.get("related"))
        if (problem := _system_problem(sections["related"], name)) is not None
    ]
    if problems:
        del sections["related"]
    return problems


def _systems_of(related: RelatedConfig | None) -> list[str]:
    return [] if related is None else [*related.systems, *related.codecs]


def _system_problem(related: RelatedConfig, name: str) -> str | None:
    """Say what is wrong with a system's parameters, or with a model or transform that it asks for with them."""
    try:
        for variant in build_system(related, name).variants():
            if variant.make is None:
                find_factory(variant.model)
            if variant.transform is not None:
                TRANSFORMS[variant.transform]
    except UserError as error:
        return str(error)
    return None


def _check_methods(document: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the options of the valid methods by name, and a line for each other one."""
    try:
        # Late: it needs Horovod, whose absence is a problem of its own (pipelines.preflight.machine).
        from pipelines.parallel import strategies  # noqa: F401  registers them
    except (ImportError, OSError):
        return {}, []
    options: dict[Any, Any] = {}
    problems: list[str] = []
    methods = document.get("methods")
    for method in methods if isinstance(methods, dict) and methods else [None]:
        try:
            options[method] = build_method(document, method, path)[0].options
        except UserError as error:
            problems.append(str(error))
    return options, problems
