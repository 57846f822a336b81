"""Parameters of training: the one recipe of all models, and which models are trained."""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pipelines.config import choice, different, number, require, whole
from pipelines.config.validate import MOST_BATCH, MOST_EPOCHS, MOST_SEED
from pipelines.data.config import AugmentConfig
from pipelines.models.config import MOST_DEPTH

MOST_RATE = 1e20
"""Every rate that diverges is far below it, and a larger one overflows float32."""


SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Key `recipe.start_from`: a network that this suite has trained, from whose weights the training starts."""

    path: str
    """Its checkpoint: best.pt of a training, at a place where no training writes."""
    sha256: str | None
    """Checksum of that file, which a run is named after: other weights are another run, wherever they lie. Where it
    is null or another one, the message names the true one."""

    def __post_init__(self) -> None:
        require(bool(self.path), "path", self.path, "the path of a checkpoint")
        fits = self.sha256 is None or SHA256_PATTERN.fullmatch(self.sha256) is not None
        require(fits, "sha256", self.sha256, "null or 64 hexadecimal digits in lower case")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Section `recipe`: stochastic gradient descent with momentum, the same for every model."""

    epochs: int
    """Passes over the training part."""
    batch_size: int
    """Images per step (per worker in distributed runs); the last, smaller batch of an epoch is left out."""
    learning_rate: float
    """Initial rate, reached after the warm-up (Huang et al. 2017: 0.1 at batch size 64)."""
    schedule: str
    """`step`: multiplied by `decay_factor` at each milestone; `cosine`: half a cosine down to 0."""
    milestones: tuple[float, ...]
    """Parts of all epochs after which `step` lowers the rate (Huang et al.: [0.5, 0.75]), ascending."""
    decay_factor: float
    """What `step` multiplies the rate by (Huang et al.: 0.1)."""
    warmup_epochs: float
    """Epochs of linear increase up to the initial rate; 0: none."""
    momentum: float
    """Momentum of the optimizer (Huang et al.: 0.9)."""
    nesterov: bool
    """Nesterov's form of the momentum (Huang et al.: true)."""
    weight_decay: float
    """L2 penalty on all parameters (Huang et al.: 1e-4)."""
    seed: int
    """Seed of initialisation, order of the images, augmentation and discarding."""
    device: str
    """`cpu`, `cuda`, or `auto`: CUDA where there is one."""
    precision: str
    """`float32`, `bfloat16` (autocast), or `auto`: bfloat16 on CUDA, float32 on the CPU."""
    memory_format: str
    """`contiguous`, `channels_last`, or `auto`: channels_last on CUDA, and on the CPU for models with
    depthwise convolutions."""
    execution: str
    """`eager`, `compiled` (torch.compile), `cuda_graphs` (compiled, and replayed as CUDA graphs: pays where steps are
    so short that their launches show), or `auto`: compiled on CUDA, eager on the CPU."""
    evaluation_batch_size: int
    """Images per batch without gradients."""
    augment: AugmentConfig
    """Random changes to the training images."""
    start_from: StartConfig | None
    """The network to start from; null: fresh weights. Tensors whose names and shapes fit are taken, but for the
    classifier, which is always new."""
    frozen: dict[str, float | None]
    """Layers that keep the weights that they start with, by the beginning of their names (`stem`, `blocks.0`) or
    `all`, every layer but the classifier; of several that name a layer the longest counts. The value is the part of all
    epochs after which the layer is released, in whole epochs and at least one; null: never. A frozen layer is in
    evaluation mode: its batch norms keep their statistics, and it drops nothing."""

    def __post_init__(self) -> None:
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "batch_size", "evaluation_batch_size", most=MOST_BATCH)
        whole(self, "seed", least=0, most=MOST_SEED)
        number(self, "learning_rate", above=0.0, most=MOST_RATE)
        number(self, "decay_factor", above=0.0, below=1.0)
        number(self, "momentum", least=0.0, below=1.0)
        number(self, "weight_decay", least=0.0, most=MOST_RATE)
        number(self, "warmup_epochs", least=0.0, below=self.epochs)
        choice("schedule", self.schedule, ("step", "cosine"))
        ascending = all(low < high for low, high in zip(self.milestones, self.milestones[1:], strict=False))
        inside = all(0.0 < milestone < 1.0 for milestone in self.milestones)
        allowed = "ascending numbers between 0 and 1"
        require(ascending and inside, "milestones", list(self.milestones), allowed)
        require(not self.nesterov or self.momentum > 0, "nesterov", True, "false where momentum is 0")
        choice("device", self.device, ("auto", "cpu", "cuda"))
        choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        choice("memory_format", self.memory_format, ("auto", "contiguous", "channels_last"))
        choice("execution", self.execution, ("auto", "eager", "compiled", "cuda_graphs"))
        for name, part in self.frozen.items():
            fits = part is None or 0.0 < part < 1.0
            require(fits, f"frozen.{name}", part, "null (never released) or a number between 0 and 1")

    def identity(self) -> dict[str, Any]:
        """Return the plain values that a run is determined by: of the network to start from the checksum alone."""
        start = self.start_from
        return asdict(self) | {"start_from": None if start is None else start.sha256}

    def from_scratch(self) -> Self:
        """Return the recipe without transfer: fresh weights, all of which are trained."""
        return replace(self, start_from=None, frozen={})

    def over(self, epochs: int) -> Self:
        """Return the recipe over so many epochs: the warm-up keeps its share of them, as the milestones do."""
        return replace(self, epochs=epochs, warmup_epochs=self.warmup_epochs * epochs / self.epochs)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Section `train`: the DenseNets of the study."""

    depths: tuple[int, ...]
    """Nominal depths, one training run each; a depth must fit a block rule or stand in densenet.blocks."""

    def __post_init__(self) -> None:
        different(self, "depths", least=1)
        whole(self, "depths", most=MOST_DEPTH)


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """Section `baseline`: the models that the DenseNets are compared with, by the same recipe."""

    models: tuple[str, ...]
    """Names in the registry of models, one training run each."""

    def __post_init__(self) -> None:
        different(self, "models")
