"""Channel pruning: which channels go together, how important each is, and the smaller network that remains.

Uniform pruning (UCP, Chang et al. 2020, arXiv:2010.01251) takes the same part of every group of channels. So the shapes
of what remains depend on the rate alone: `vgg19_bn-pruned50` is that network, new, and the weights of any VGG-19 that
has been pruned by half fit into it.
"""

from pipelines.models.pruning.groups import ChannelGroup, channel_groups
from pipelines.models.pruning.mseb import ScoredNorm, mseb_scores, remove_mseb
from pipelines.models.pruning.prune import num_kept, prune
from pipelines.models.pruning.scores import magnitude_scores, random_scores

__all__ = [
    "ChannelGroup",
    "ScoredNorm",
    "channel_groups",
    "magnitude_scores",
    "mseb_scores",
    "num_kept",
    "prune",
    "random_scores",
    "remove_mseb",
]
