"""Objectives for training on labels of which some are wrong.

Shape suffixes: b images of a batch, n of the training part, k classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.training.epoch import StepFacts, StepObjective

ANCHOR_QUANTILE = 0.97  # Patrini et al. 2017, section 5: instead of the maximum, which an outlier decides
_SMALLEST = 1e-12  # keeps the logarithm of a float32 probability that is 0 finite


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """Return the mean of (1 - p_y^q) / q, a scalar, of float logits [b, k] and labels int64 [b].

    Zhang and Sabuncu 2018, arXiv:1805.07836, equation 6: cross-entropy for q towards 0, for 1 the absolute error,
    which wrong labels disturb less but which is slow to learn from. 0 < q <= 1.
    """
    likelihood = functional.log_softmax(logits, 1).gather(1, labels[:, None]).squeeze(1)
    return ((1 - torch.exp(q * likelihood)) / q).mean()


def forward_corrected(logits: Tensor, labels: Tensor, transitions: Tensor) -> Tensor:
    """Return the mean of -log (p T)_y, a scalar, of float logits [b, k], labels int64 [b] and T float [k, k].

    Patrini et al. 2017, arXiv:1609.03683, theorem 2: T[i, j] is the probability that class i is labelled j. So p, what
    the network thinks of the true class, is compared with labels through what the noise makes of it.
    """
    observed = functional.softmax(logits, 1) @ transitions
    likelihood = observed.gather(1, labels[:, None]).squeeze(1)
    return -likelihood.clamp(min=_SMALLEST).log().mean()


def estimate_transitions(probabilities: Tensor) -> Tensor:
    """Return T, float [k, k], estimated from what a network trained on the noisy labels predicts, [n, k].

    Patrini et al. 2017, equation 12: the image whose probability of class i is the 97 % quantile stands for that class;
    its probabilities are row i.
    """
    place = min(int(ANCHOR_QUANTILE * len(probabilities)), len(probabilities) - 1)
    anchors = probabilities.argsort(dim=0, stable=True)[place]
    return probabilities[anchors]


@dataclass(frozen=True, kw_only=True)
class CoTeaching(StepObjective):
    """Two networks that choose for each other the images with a small loss (Han et al. 2018, arXiv:1804.06872).

    Algorithm 1: of a batch each takes the share R(T) = 1 - noise_rate * min(T / gradual_epochs, 1), T being the
    finished epochs, whose cross-entropy is the smallest for the other one. The logits are those of two `Members`.
    """

    noise_rate: float
    """The share of wrong labels, which the method has to know."""
    gradual_epochs: float
    """Epochs until that share is left out (the paper: 10 of 200)."""

    def __call__(self, logits: Tensor, labels: Tensor, images: Tensor, facts: StepFacts) -> Tensor:  # noqa: ARG002
        """Return the sum of both networks' mean cross-entropies over what the other one chose."""
        pair = torch.split(logits, logits.shape[1] // 2, 1)
        first, second = (functional.cross_entropy(one, labels, reduction="none") for one in pair)
        dropped = self.noise_rate * min(facts.epoch / self.gradual_epochs, 1.0)
        kept = max(1, int((1 - dropped) * len(labels)))
        for_first, for_second = (one.detach().argsort(stable=True)[:kept] for one in (second, first))
        return first[for_first].mean() + second[for_second].mean()


@dataclass(frozen=True, kw_only=True)
class OutOfFold(StepObjective):
    """Cross-validation in one training: member f of `Members` learns from all images but those of fold f."""

    folds: Tensor
    """The fold of every image of the training part, int64 [n], from 0."""

    def __call__(self, logits: Tensor, labels: Tensor, images: Tensor, facts: StepFacts) -> Tensor:  # noqa: ARG002
        """Return the sum over members of their mean cross-entropies; 0 of one that has no image in the batch."""
        own = self.folds.to(labels.device)[facts.indices]
        number = int(self.folds.max()) + 1
        losses = []
        for fold, one in enumerate(torch.split(logits, logits.shape[1] // number, 1)):
            learnt = (own != fold).float()
            each = functional.cross_entropy(one, labels, reduction="none")
            losses.append((learnt * each).sum() / learnt.sum().clamp(min=1))
        return torch.stack(losses).sum()


@dataclass(frozen=True, kw_only=True)
class WeightedTargets(StepObjective):
    """Cross-entropy with a target distribution and a weight for every image of the training part, not its label."""

    targets: Tensor
    """Float [n, k], rows that sum to 1."""
    weights: Tensor
    """Float [n], at least 0; 0 leaves an image out."""

    def __call__(self, logits: Tensor, labels: Tensor, images: Tensor, facts: StepFacts) -> Tensor:  # noqa: ARG002
        """Return sum w_i (-sum_j t_ij log p_ij) / sum w_i over the batch; 0 where all weights are 0."""
        targets, weights = (one.to(logits.device)[facts.indices] for one in (self.targets, self.weights))
        each = -(targets * functional.log_softmax(logits, 1)).sum(1)
        total = weights.sum()
        return (weights * each).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)
