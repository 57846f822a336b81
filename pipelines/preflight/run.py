"""All checks of one pipeline: nothing is raised, every problem is a line."""

from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.experiments.related.config import ALL_SETS, DATA_SETS
from pipelines.experiments.related.systems import build_system
from pipelines.preflight import machine
from pipelines.preflight.data import data_problem
from pipelines.preflight.memory import Footprint, footprint
from pipelines.preflight.references import check_references
from pipelines.preflight.sections import read_sections
from pipelines.preflight.start import start_problems
from pipelines.results import EXPERIMENTS

PIPELINES = ("main", *EXPERIMENTS)


def preflight(pipeline: str, params: Path) -> tuple[list[str], list[str]]:
    """Check parameters, what they refer to and the machine for `pipeline`; return problems and notes, a line each.

    A note is about a part that the pipeline leaves out and goes on without. Nothing is trained or downloaded.
    """
    sections, problems = read_sections(params)
    broken = machine.horovod_problem()
    if broken is None and not problems:
        problems += check_references(sections, sections["methods"], params)
    machine_problems = [
        broken,
        machine.cluster_problem() if pipeline in ("sweep", "time_to_accuracy") else None,
        *machine.device_problems(sections),
        *(machine.host_problems(sections) if pipeline == "main" else ()),
        machine.store_problem(sections),
    ]
    missing, notes = _data_problems(pipeline, sections)
    size_problems = [] if problems else _size_problems(pipeline, sections, params)
    if pipeline == "main" and not problems and not size_problems:
        size_problems = [f"{params}: {problem}" for problem in start_problems(sections)]
    found = [*problems, *(line for line in machine_problems if line), *missing, *size_problems]
    return list(dict.fromkeys(found)), notes


def _data_problems(pipeline: str, sections: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return a line for data that the pipeline cannot do without, and one for data whose part it leaves out."""
    prepare, convergence, study = (sections.get(name) for name in ("prepare", "convergence", "study"))
    own = (
        "study",
        "related",
    )  # they prepare all of their data themselves, and go on without those that are missing
    if prepare is None:
        return [], []
    if pipeline == "time_to_accuracy":
        timed = sections.get(pipeline)
        line = data_problem(prepare, timed.data) if timed else None
        return [line] if line else [], []
    parts: list[str] = []
    if pipeline == "convergence" and convergence:
        parts = list(convergence.parity.data)
    elif pipeline == "study" and study:
        parts = [part.source or name for name, part in vars(study).items()]
    elif pipeline == "related":
        parts = list(ALL_SETS)
    needed = [] if pipeline in own else [prepare.name]
    missing = [line for name in needed if (line := data_problem(prepare, name))]
    other = [name for name in dict.fromkeys(parts) if name not in needed]
    notes = [line for name in other if (line := data_problem(prepare, name))]
    return missing, notes


def _size_problems(pipeline: str, sections: dict[str, Any], params: Path) -> list[str]:
    """Return a line for every model that fits no image or batch, and one where the disk is too small."""
    problems: list[str] = []
    checkpoint_bytes = 0
    sizes: dict[tuple[str, str, int | None], Footprint | None] = {}
    for key, model, data, image_size, batch_size, workers in _steps(pipeline, sections):
        place = (model, data, image_size)
        try:
            if place not in sizes:
                sizes[place] = footprint(*place, sections["densenet"])
        except UserError as error:
            problems.append(f"{params}: {key}: {error}")
            sizes[place] = None
        size = sizes[place]
        if size is None:
            continue
        checkpoint_bytes += size.checkpoint_bytes * workers
        needed = size.step_bytes(batch_size) * workers
        problem = machine.memory_problem(key, model, batch_size, workers, needed)
        problems += [f"{params}: {problem}"] if problem else []
    disk = machine.disk_problem(Path.cwd(), checkpoint_bytes)
    return [*problems, *([disk] if disk else [])]


def _steps(pipeline: str, sections: dict[str, Any]) -> list[tuple[str, str, str, int | None, int, int]]:
    """Return key, model, data set, image size, batch size a worker and workers of every training step here."""
    prepare, recipe, densenets = sections["prepare"], sections["recipe"], sections["train"]
    data, side = prepare.name, prepare.image_size
    if pipeline == "main":
        distributed = sections["distributed"]
        workers = distributed.workers if distributed.hosts is None else 1
        names = [*(f"densenet{depth}" for depth in densenets.depths), *sections["baseline"].models]
        return [
            *(("recipe.batch_size", name, data, side, recipe.batch_size, 1) for name in names),
            *(
                ("distributed.batch_size", name, data, side, distributed.batch_size, workers)
                for name in distributed.models
            ),
        ]
    if pipeline == "sweep":
        sweep = sections["sweep"]
        most = max(sweep.workers)
        return [("sweep.batch_size", name, data, side, sweep.batch_size, most) for name in sweep.models]
    if pipeline == "convergence":
        config = sections["convergence"]
        steps = [
            (
                "convergence.global_batch_size",
                config.model,
                data,
                side,
                config.global_batch_size // workers,
                workers,
            )
            for workers in config.workers
        ]
        for name, one in config.parity.sets.items():
            key = f"convergence.parity.sets.{name}.global_batch_size"
            steps.append((key, one.model, name, one.image_size, one.global_batch_size // 2, 2))
        return steps
    if pipeline == "time_to_accuracy":
        timed = sections[pipeline]
        return [
            (
                f"{pipeline}.models.{name}.global_batch_size",
                name,
                timed.data,
                timed.image_size,
                one.global_batch_size // 2,
                2,
            )
            for name, one in timed.models.items()
        ]
    if pipeline == "related":
        related = sections["related"]
        models = {one.model for name in related.systems for one in build_system(related, name).variants()}
        return [
            ("recipe.batch_size", model, data, getattr(related, data).image_size, recipe.batch_size, 1)
            for model in sorted(models)
            for data in DATA_SETS
        ]
    return [
        ("recipe.batch_size", model, part.source or name, part.image_size, recipe.batch_size, 1)
        for name, part in vars(sections["study"]).items()
        for model in (*part.models, *part.curve_models)
    ]
