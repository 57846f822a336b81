"""What sections say of each other: models, methods, data sets and numbers of workers that must go together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horovod_gq.config import num_levels
from pipelines.config.show import show, show_key
from pipelines.data import sources  # noqa: F401 - registers the data sets
from pipelines.data.raw import SOURCES
from pipelines.data.transforms import TRANSFORMS
from pipelines.errors import UserError
from pipelines.models import DenseNetConfig, base_of, find_factory, is_densenet
from pipelines.models.blocks import block_layers
from pipelines.parallel.strategies.bases.gq_options import GqOptions


@dataclass(frozen=True)
class Use:
    """A name that stands at `key` of the parameter file."""

    key: str
    name: str


def check_references(sections: dict[str, Any], options: dict[str, Any], params: Path) -> list[str]:
    """Return a line for every name or number that fits nothing it refers to.

    `sections` are those that could be read; `options` are those of every valid method by its name.
    """
    problems = [_model_problem(use, sections.get("densenet")) for use in models_used(sections)]
    problems += [_data_problem(use) for use in data_used(sections)]
    problems.append(_transform_problem(sections))
    problems += [_method_problem(use, options) for use, _ in methods_used(sections)]
    problems += [_width_problem(use, workers, options) for use, workers in methods_used(sections)]
    problems.append(_reference_problem(sections))
    return [f"{params}: {problem}" for problem in dict.fromkeys(problems) if problem is not None]


def models_used(sections: dict[str, Any]) -> Iterator[Use]:
    """Yield every model that a section names."""
    lists: dict[str, Callable[[Any], list[str]]] = {
        "train.depths": lambda one: [f"densenet{depth}" for depth in one.depths],
        "baseline.models": lambda one: one.models,
        "distributed.models": lambda one: one.models,
        "slow_link.models": lambda one: one.models,
        "sweep.models": lambda one: one.models,
        "more_workers.models": lambda one: one.models,
        "convergence.model": lambda one: [one.model],
    }
    for key, names in lists.items():
        section = sections.get(key.partition(".")[0])
        yield from (Use(key, name) for name in (names(section) if section else ()))
    if convergence := sections.get("convergence"):
        for name, trained in convergence.parity.sets.items():
            yield Use(f"convergence.parity.sets.{name}.model", trained.model)
    if timed := sections.get("time_to_accuracy"):
        yield from (Use("time_to_accuracy.models", name) for name in timed.models)
    if study := sections.get("study"):
        for name, part in vars(study).items():
            ablated = [part.ablated_model] if part.ablated_model else []
            yield from (
                Use(f"study.{name}.models", model) for model in (*part.models, *part.curve_models, *ablated)
            )


def data_used(sections: dict[str, Any]) -> Iterator[Use]:
    """Yield every data set that a section names."""
    if prepare := sections.get("prepare"):
        yield Use("prepare.name", prepare.name)
    if convergence := sections.get("convergence"):
        yield from (Use("convergence.parity.data", name) for name in convergence.parity.data)
    if timed := sections.get("time_to_accuracy"):
        yield Use("time_to_accuracy.data", timed.data)
    if study := sections.get("study"):
        for name, part in vars(study).items():
            yield (
                Use(f"study.{name}", name)
                if part.source is None
                else Use(f"study.{name}.source", part.source)
            )


def methods_used(sections: dict[str, Any]) -> Iterator[tuple[Use, tuple[int, ...]]]:
    """Yield every method that a section names, with the numbers of workers that it has to carry."""
    if distributed := sections.get("distributed"):
        yield from (
            (Use("distributed.methods", name), (distributed.workers,)) for name in distributed.methods
        )
    if slow_link := sections.get("slow_link"):
        yield from ((Use("slow_link.methods", name), ()) for name in slow_link.methods)
    for key in ("sweep", "more_workers"):
        if sweep := sections.get(key):
            for name in sweep.methods:
                timed = tuple(workers for workers in sweep.workers if name in sweep.methods_of(workers))
                yield Use(f"{key}.methods", name), timed
    if convergence := sections.get("convergence"):
        yield from ((Use("convergence.methods", name), convergence.workers) for name in convergence.methods)
        for name in convergence.parity.methods:
            yield Use("convergence.parity.methods", name), (2,)
    if trained := sections.get("time_to_accuracy"):
        yield from ((Use("time_to_accuracy.methods", name), (2,)) for name in trained.methods)
    if related := sections.get("related"):
        yield Use("related.reference", related.reference), (2,)
        yield Use("related.compressed", related.compressed), (2,)


def _transform_problem(sections: dict[str, Any]) -> str | None:
    prepare = sections.get("prepare")
    try:
        if prepare and prepare.transform is not None:
            TRANSFORMS[prepare.transform]
    except UserError as error:
        return str(error)
    return None


def _model_problem(use: Use, densenet: DenseNetConfig | None) -> str | None:
    try:
        find_factory(use.name)
        if is_densenet(use.name) and densenet is not None:
            block_layers(int(base_of(use.name).removeprefix("densenet")), densenet)
    except UserError as error:
        return f"{use.key}: {show_key(use.name)}: {error}"
    return None


def _data_problem(use: Use) -> str | None:
    if use.name in SOURCES:
        return None
    return f"{use.key}: {show(use.name)} is no known data set; known: {', '.join(SOURCES)}"


def _method_problem(use: Use, options: dict[str, Any]) -> str | None:
    if use.name in options:
        return None
    return f"{use.key}: {show(use.name)} is no valid key of the section methods; keys: {', '.join(options)}"


def _width_problem(use: Use, workers: tuple[int, ...], options: dict[str, Any]) -> str | None:
    chosen = options.get(use.name)
    if not isinstance(chosen, GqOptions):
        return None
    try:
        for number in workers:
            num_levels(chosen.wire_bits, number, chosen.exchange)
    except ValueError as error:
        return f"{use.key}: {show_key(use.name)}: {error}"
    return None


def _reference_problem(sections: dict[str, Any]) -> str | None:
    speedup, distributed = sections.get("speedup"), sections.get("distributed")
    if not speedup or not distributed or speedup.reference in distributed.methods:
        return None
    return f"speedup.reference: {show(speedup.reference)} is not allowed; allowed: one of distributed.methods"
