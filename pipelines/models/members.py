"""Several networks of one structure that are trained together, each from weights of its own.

For what one network cannot do: choose images for another one (Co-teaching), or predict those it was not trained on
(cross-validation). One loop trains them, by an objective that tells their logits apart.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.models.base import build_from_spec, spec_of


class Members(nn.Module):
    """The networks `members`, which all see the same images.

    In training mode it returns the logits of all side by side, float [b, members * classes], those of the first one
    first. In evaluation mode: with `vote` the logarithm of their mean probabilities, else the logits of the first one,
    float [b, classes].
    """

    def __init__(self, members: list[nn.Module], *, vote: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.vote = vote

    def forward(self, images: Tensor) -> Tensor:
        """Classify float images [b, c, h, w]."""
        if self.training:
            return torch.cat([member(images) for member in self.members], 1)
        if not self.vote:
            return self.members[0](images)  # type: ignore[no-any-return]
        logarithms = torch.stack([member(images).log_softmax(1) for member in self.members])
        return logarithms.logsumexp(0) - float(np.log(len(self.members)))

    @property
    def changes_every_step(self) -> bool:
        """Whether each training step computes something else."""
        return any(getattr(member, "changes_every_step", False) for member in self.members)

    @contextmanager
    def full_reuse(self) -> Iterator[None]:
        """Within the context no member discards anything in training mode."""
        with ExitStack() as stack:
            for member in self.members:
                if hasattr(member, "full_reuse"):
                    stack.enter_context(member.full_reuse())  # type: ignore[operator]
            yield


def build_members(model: nn.Module, number: int, *, vote: bool) -> Members:
    """Return `model` and number - 1 networks of its specification, whose initial weights follow from its seed."""
    spec = spec_of(model)
    others = []
    for index in range(1, number):
        seed = int(np.random.SeedSequence((spec.seed, index)).generate_state(1)[0])
        others.append(build_from_spec(replace(spec, seed=seed)))
    return Members([model, *others], vote=vote)


def logits_of_members(logits: Tensor, num_classes: int) -> tuple[Tensor, ...]:
    """Return what a `Members` in training mode has put side by side: [b, classes] of each member."""
    return torch.split(logits, num_classes, 1)
