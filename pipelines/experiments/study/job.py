"""What the trainings on one data set share: parameters and places of files."""

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from pipelines.command_line import add_params
from pipelines.config import DEFAULT_PATH, load_section
from pipelines.data import PrepareConfig, PreparedData
from pipelines.evaluation import EvaluateConfig
from pipelines.experiments.study.config import StudyConfig, StudyDataConfig
from pipelines.models import DenseNetConfig, build_model_for, spec_of
from pipelines.training import Judge, Objective
from pipelines.training.sections import TrainingJob, shared_sections

DATA = Path("data/study")
CHECKPOINTS = Path("checkpoints/study")
RESULTS = Path("results/study/runs")


@dataclass(frozen=True, kw_only=True)
class Training(TrainingJob):
    """What one run trains, on what, how."""

    model: str
    checkpoints: Path
    """Folder that the run's own folder is made in."""

    def inputs(self, data: PreparedData) -> PreparedData:
        """Return the images that the run sees, from those of its folder."""
        return data

    def build(self, data: PreparedData) -> nn.Module:
        """Build the model with its initial weights, on the CPU."""
        return build_model_for(data, self.model, self.densenet, self.recipe.seed)

    def objective(self, data: PreparedData) -> Objective | None:  # noqa: ARG002 - for runs that have one
        """Return what the steps minimise; None: the mean cross-entropy."""
        return None

    def judge(self, data: PreparedData) -> Judge | None:  # noqa: ARG002 - for networks that are no classifiers
        """Return what epochs are judged by; None: cross-entropy and accuracy."""
        return None

    def key(self, model: nn.Module, data: PreparedData) -> str:
        """Return a digest of everything that determines the run, as the name of its folder."""
        content = [asdict(spec_of(model)), self.recipe.identity(), data.checksum]
        return digest(content)


@dataclass(frozen=True, kw_only=True)
class StudyJob(TrainingJob):
    """The study on one data set."""

    data: str
    """Key below the section `study`: a data set's name, or that of another part of one. Rows carry it."""
    config: StudyDataConfig
    prepare: PrepareConfig
    evaluate: EvaluateConfig
    checkpoints: Path
    """Folder of the checkpoints and records of unfinished stages."""
    results: Path
    """Folder of the row files."""

    def training(
        self,
        model: str,
        *,
        seed: int,
        learning_rate: float | None = None,
        schedule: str | None = None,
        epochs: int | None = None,
        densenet: DenseNetConfig | None = None,
    ) -> Training:
        """Return one training run; what is None is as in the sections study, recipe and densenet."""
        recipe = replace(
            self.recipe.over(epochs or self.config.epochs),
            seed=seed,
            augment=self.config.augment,
            learning_rate=learning_rate or self.recipe.learning_rate,
            schedule=schedule or self.recipe.schedule,
        )
        return Training(
            model=model,
            recipe=recipe,
            densenet=densenet or self.densenet,
            data_folder=self.data_folder,
            checkpoints=self.checkpoints,
        )


def digest(content: object) -> str:
    """Return a short SHA-256 of plain values, as a folder's name."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def load_job(data: str, params: Path = DEFAULT_PATH) -> StudyJob:
    """Read the study on `data` from `params`; UserError in one line on every value that is not allowed."""
    load_section(StudyConfig, "study", params)
    config = load_section(StudyDataConfig, f"study.{data}", params)
    return StudyJob(
        data=data,
        config=config,
        prepare=load_section(PrepareConfig, "prepare", params).for_set(config.source or data, config),
        evaluate=load_section(EvaluateConfig, "evaluate", params),
        checkpoints=CHECKPOINTS,
        results=RESULTS,
        **shared_sections(params, DATA / data),
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the study on one data set: `--data` and `--params`."""
    parser.add_argument("--data", required=True, help="a key of the section study, such as digits")
    add_params(parser)
