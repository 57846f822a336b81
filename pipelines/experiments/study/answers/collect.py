"""Reading what the stages of the study have written, as far as they have been run."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipelines.data.archives import read_npz
from pipelines.errors import UserError
from pipelines.evaluation.scores import Scores
from pipelines.experiments.study.answers.claims import Claim, answer_claims
from pipelines.experiments.study.answers.pairs import pair_rows
from pipelines.experiments.study.answers.tables import ablation_rows, comparison_rows
from pipelines.experiments.study.config import StudyDataConfig
from pipelines.results import Row, read_json


@dataclass(frozen=True, kw_only=True)
class DataResults:
    """What the stages have written of one data set."""

    data: str
    compares: bool = True
    """Whether the parameters name more than one model."""
    tuning: list[Row] = field(default_factory=list)
    comparison: list[Row] = field(default_factory=list)
    corruption: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    """The time of a training step, by model."""
    curves: list[Row] = field(default_factory=list)
    ablation: list[Row] = field(default_factory=list)
    scores: dict[str, dict[int, Scores]] = field(default_factory=dict)
    """Of the test part, by model and seed."""
    not_run: list[str] = field(default_factory=list)
    """What the parameters name and no file has."""

    def comparison_summary(self) -> list[Row]:
        """Summarise the comparison over its seeds; see `comparison_rows`."""
        return comparison_rows(self.comparison, self.steps)

    def ablation_summary(self) -> list[Row]:
        """Summarise the ablation over its seeds; see `ablation_rows`."""
        return ablation_rows(self.ablation, self.steps)

    def answer_claims(self) -> list[Claim]:
        """Answer the study's claims on this data set; none where one model alone is trained, which answers none."""
        if not self.compares:
            return []
        return answer_claims(self.comparison, self.curves, self.corruption, self.scores)

    def compare_pairs(self) -> list[Row]:
        """Compare every two models of this data set; see `pair_rows`."""
        return pair_rows(self.data, self.comparison, self.scores)


def read_data(data: str, config: StudyDataConfig, folder: Path) -> DataResults:
    """Read the files of `data` under `folder` that belong to the models of `config`."""
    found = DataResults(data=data, compares=len({*config.models, *config.curve_models}) > 1)
    for model in config.models:
        rows = _read(folder / f"compare-{data}-{model}.json", f"comparison of {model}", found)
        for row in rows:
            getattr(found, row["experiment"]).append(row)
        if rows:
            found.scores[model] = read_scores(folder / f"probabilities-{data}-{model}.npz")
    if config.models:
        found.steps.extend(_read(folder / f"steps-{data}.json", "time of a training step", found))
    for model in config.curve_models:
        found.curves.extend(_read(folder / f"curves-{data}-{model}.json", f"curves of {model}", found))
    if config.ablated_model is not None:
        found.ablation.extend(_read(folder / f"ablation-{data}.json", "ablation", found))
    return found


def _read(path: Path, name: str, found: DataResults) -> list[Row]:
    """Return the rows at `path`; where there is none, note `name` as not run. Mutates `found`."""
    if not path.exists():
        found.not_run.append(name)
        return []
    rows: list[Row] = read_json(path)
    return rows


def read_scores(path: Path) -> dict[int, Scores]:
    """Read the test probabilities of one model by seed: labels [n], seeds [s], probabilities [s, n, k].

    Raises UserError where the file is missing.
    """
    if not path.exists():
        raise UserError(f"{path}: is missing beside its rows; run `make study`")
    arrays = read_npz(path, ("labels", "seeds", "probabilities"))
    labels, seeds = arrays["labels"].astype(np.int64), arrays["seeds"].astype(np.int64)
    probabilities = arrays["probabilities"].astype(np.float64)
    images = np.arange(len(labels))
    return {
        int(seed): Scores(one, -np.log(one[images, labels]), labels)
        for seed, one in zip(seeds, probabilities, strict=True)
    }
