"""What the trainings of one system on one data set share: parameters, places of files, and one training."""

import copy
import functools
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pipelines.config import DEFAULT_PATH, load_section, require
from pipelines.data import PrepareConfig, PreparedData
from pipelines.errors import UserError
from pipelines.evaluation import EvaluateConfig
from pipelines.evaluation.runs import BEST
from pipelines.experiments.related.config import ALL_SETS, RelatedConfig, RelatedSetConfig
from pipelines.experiments.related.system import Context, Images, System, Variant
from pipelines.experiments.related.systems import load_system
from pipelines.experiments.study.job import Training, digest
from pipelines.experiments.study.runs.worker import load_once
from pipelines.models import ModelSpec, build_model_for
from pipelines.training import Judge, Objective, load_checkpoint
from pipelines.training.checkpoint import restore_generators
from pipelines.training.sections import TrainingJob, shared_sections

DATA = Path("data/related")
CHECKPOINTS = Path("checkpoints/related")
RESULTS = Path("results/related")
RUNS = RESULTS / "runs"
MOST_SOURCES = 8
"""Networks that a process keeps for the variants that start from them."""
_delivered: dict[Path, nn.Module] = {}
"""By the folder of their training, whose name is a digest of everything that determines it."""


@dataclass(frozen=True, kw_only=True)
class VariantTraining(Training):
    """One training of a variant, which may come after one of another variant."""

    system: System
    data_set: str
    """Key of the data set in the section `related`."""
    variant: str
    source: "VariantTraining | None"
    """The training that this one starts from."""
    source_folder: Path | None
    """Where that one's best.pt is."""
    prepare: PrepareConfig
    """The section `prepare`, for variants with images of their own."""

    @property
    def declared(self) -> Variant:
        """The variant as its system declares it."""
        return self.system.variant(self.variant)

    def inputs(self, data: PreparedData) -> PreparedData:
        """Return the variant's own images, or those of the data set, after its transform and its change of the data."""
        variant, seen = self.declared, data
        if variant.images is not None or variant.transform is not None:
            seen = _inputs_once(self.data_folder, variant.images, self.prepare, variant.transform)
        return seen if variant.data is None else variant.data(seen, self.recipe.seed)

    def context(self, data: PreparedData) -> Context:
        """Return what the variant's hooks may use; `data` is what `inputs` returned."""
        source = None
        if self.source is not None and self.source_folder is not None:
            source = copy.deepcopy(_delivered_once(self.source, self.source_folder))
        prepared = load_once(self.data_folder)
        return Context(
            data=data, seed=self.recipe.seed, source=source, prepared=prepared, data_set=self.data_set
        )

    def build(self, data: PreparedData) -> nn.Module:
        """Build the network to train, on the CPU: the same at every call."""
        fresh = self._fresh(data)
        change = self.declared.change
        if change is None:
            return fresh
        spec = fresh.spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network = change(fresh, self.context(data))
        if not hasattr(network, "spec"):
            network.spec = spec
        return network

    def _fresh(self, data: PreparedData) -> nn.Module:
        """Return the registered model, or what stands for it, with its initial weights."""
        make = self.declared.make
        if make is None:
            return build_model_for(data, self.model, self.densenet, self.recipe.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network = make(self.context(data))
        network.spec = ModelSpec(  # type: ignore[assignment]
            name=self.model,
            num_channels=data.num_channels,
            num_classes=data.num_classes,
            image_size=data.image_size,
            densenet=None,
            seed=self.recipe.seed,
        )
        return network

    def objective(self, data: PreparedData) -> Objective | None:
        """Return what the steps minimise; None: the mean cross-entropy."""
        make = self.declared.objective
        return None if make is None else make(self.context(data))

    def judge(self, data: PreparedData) -> Judge | None:
        """Return what epochs are judged by; None: cross-entropy and accuracy."""
        return self.system.judge(data)

    def key(self, model: nn.Module, data: PreparedData) -> str:
        """Return a digest of everything that determines the run, as the name of its folder."""
        own = [self.system.name, asdict(self.system.options), self.variant]
        before = self.source_folder.name if self.source_folder else None
        return digest([super().key(model, data), own, before])

    def restore(self, folder: Path) -> nn.Module:
        """Return the network as this training has left it in `folder`, in evaluation mode, on the CPU."""
        network = self.build(self.inputs(load_once(self.data_folder)))
        checkpoint = load_checkpoint(folder / BEST)
        network.load_state_dict(checkpoint.model_state)
        restore_generators(network, checkpoint.generator_states)
        return network.eval()

    def deliver(self, folder: Path) -> nn.Module:
        """Return what the variant has made of the network in `folder` after training, in evaluation mode."""
        return self.finished(self.restore(folder))

    def finished(self, network: nn.Module) -> nn.Module:
        """Return what the variant makes of its trained network, in evaluation mode; `network` may be changed."""
        finish = self.declared.finish
        return network if finish is None else finish(network).eval()


@dataclass(frozen=True, kw_only=True)
class RelatedJob(TrainingJob):
    """One system on one data set."""

    data: str
    system: System
    shared: RelatedConfig
    config: RelatedSetConfig
    prepare: PrepareConfig
    evaluate: EvaluateConfig
    params: Path
    """The parameter file, which the section `methods` is read from."""
    checkpoints: Path
    """Folder of what an interrupted run goes on from."""
    result_file: Path
    kept_file: Path
    """What the system keeps of its networks, if it does."""

    @property
    def name(self) -> str:
        """Name of the job in progress bars and files: SYSTEM-DATA."""
        return f"{self.system.name}-{self.data}"

    def rates(self, variant: Variant) -> tuple[float, ...]:
        """Return the initial rates that a variant is tried at."""
        return variant.rates or self.shared.learning_rates

    def training(
        self,
        variant: Variant,
        *,
        seed: int,
        learning_rate: float,
        source: VariantTraining | None = None,
        source_folder: Path | None = None,
        tuning: bool = False,
        model: str | None = None,
    ) -> VariantTraining:
        """Return one training of a variant; `tuning`: for the epochs that a rate is tried.

        `model` is what its search has found; None: the variant's own.
        """
        epochs = self.config.tuning_epochs if tuning else None
        recipe = replace(
            self.recipe.over(max(1, math.floor((epochs or self.config.epochs) * variant.epochs + 0.5))),
            seed=seed,
            augment=variant.augment.get(self.data, self.config.augment),
            learning_rate=learning_rate,
            frozen=dict(variant.frozen),
        )
        return VariantTraining(
            model=model or variant.model,
            recipe=recipe,
            densenet=self.densenet,
            data_folder=self.data_folder,
            checkpoints=self.checkpoints / "runs",
            system=self.system,
            data_set=self.data,
            variant=variant.name,
            source=source,
            source_folder=source_folder,
            prepare=self.prepare,
        )


def load_job(system: str, data: str, params: Path = DEFAULT_PATH) -> RelatedJob:
    """Read one system on one data set from `params`; UserError in one line on every value that is not allowed."""
    shared = load_section(RelatedConfig, "related", params)
    built = load_system(shared, system, params)
    if data not in built.data_sets:
        raise UserError(
            f"--data: {data!r} is not allowed for {system}; allowed: {', '.join(built.data_sets)}"
        )
    return RelatedJob(
        data=data,
        system=built,
        shared=shared,
        config=set_of(shared, data),
        prepare=load_section(PrepareConfig, "prepare", params),
        evaluate=load_section(EvaluateConfig, "evaluate", params),
        params=params,
        checkpoints=CHECKPOINTS / f"{system}-{data}",
        result_file=RUNS / f"{system}-{data}.json",
        kept_file=CHECKPOINTS / "codecs" / f"{system}-{data}.pt",
        **shared_sections(params, DATA / data),
    )


def set_of(shared: RelatedConfig, data: str) -> RelatedSetConfig:
    """Return the part of the section about a data set; UserError for one that it has not."""
    if data not in ALL_SETS:
        raise UserError(f"--data: {data!r} is not allowed; allowed: {', '.join(ALL_SETS)}")
    found: RelatedSetConfig = getattr(shared, data)
    return found


def prepare_config(prepare: PrepareConfig, shared: RelatedConfig, data: str) -> PrepareConfig:
    """Return the section `prepare` for a data set of the systems; variants choose transform and label noise."""
    # Late: only the stage that prepares the data needs the sources.
    from pipelines.data import sources  # noqa: F401 - registers them
    from pipelines.data.raw import SOURCES

    config = set_of(shared, data)
    known = config.source is None or config.source in SOURCES
    require(known, f"related.{data}.source", config.source, f"null, {', '.join(SOURCES)}")
    return replace(prepare.for_set(config.source or data, config), transform=None, label_noise=None)


def _delivered_once(source: VariantTraining, folder: Path) -> nn.Module:
    """Return what a source delivers, of which several variants make copies: building it may take seconds."""
    if folder not in _delivered:
        if len(_delivered) == MOST_SOURCES:
            _delivered.pop(next(iter(_delivered)))
        _delivered[folder] = source.deliver(folder)
    return _delivered[folder]


@functools.cache
def _inputs_once(
    folder: Path, images: Images | None, prepare: PrepareConfig, transform: str | None
) -> PreparedData:
    data = load_once(folder)
    if images is not None:
        data = images(data, prepare)
    if transform is None:
        return data
    # Late: the data sources behind it take a second to import, and most variants need none.
    from pipelines.data.preparation import with_transform

    return with_transform(data, transform)
