"""Wavelet edge enhancement: edges that wavelets find are given to the network beside the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipelines.config import choice
from pipelines.experiments.related.system import SYSTEMS, Comparison, Role, System, Variant


@dataclass(frozen=True, kw_only=True)
class WaveletEdgesOptions:
    """Parameters of wavelet edge enhancement; `related.systems.wavelet_edges`."""

    model: str
    """Registered model that classifies the images."""
    wavelet: str
    """Of the limited reconstruction: haar, db2 or bior."""
    levels: int
    """Of the decomposition: 1 or 2."""
    use: str
    """What becomes of the edges: `added` to the image, or `stacked` on it as further channels."""

    def __post_init__(self) -> None:
        choice("wavelet", self.wavelet, ("haar", "db2", "bior"))
        choice("levels", self.levels, (1, 2))
        choice("use", self.use, ("added", "stacked"))


@SYSTEMS.register("wavelet_edges")
class WaveletEdges(System):
    """Both methods of the paper as input transforms, against the image alone and against classical edges."""

    Options = WaveletEdgesOptions
    options: WaveletEdgesOptions
    source: ClassVar[str] = (
        "De Silva, Fernando, Piyatilake and Karunarathne, Wavelet Based Edge Feature Enhancement for Convolutional "
        "Neural Networks, 2018, arXiv:1809.00982"
    )
    claim: ClassVar[str] = (
        "A preprocessing that enhances edges, by limited wavelet reconstruction or by local modulus maxima of the "
        "coefficients, raises the accuracy significantly."
    )
    from_abstract: ClassVar[bool] = True

    def variants(self) -> Sequence[Variant]:
        """Return the same network behind each transform."""
        use = self.options.use
        reconstruction = f"wavelet_{self.options.wavelet}_{self.options.levels}_{use}"
        table = [
            ("image", Role.BASELINE, "the image alone", None),
            ("reconstruction", Role.SYSTEM, "edges by limited reconstruction", reconstruction),
            ("maxima", Role.SYSTEM, "edges by local modulus maxima", f"wavelet_maxima_{use}"),
            ("sobel", Role.PEER, "edges by Sobel's operator", f"sobel_{use}"),
            ("unsharp", Role.PEER, "the image after an unsharp mask", "unsharp_mask"),
        ]
        return [
            Variant(name=name, role=role, what=what, model=self.options.model, transform=transform)
            for name, role, what, transform in table
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that both methods beat the image alone; the classical edges are for orientation."""
        return [
            Comparison(first="reconstruction", second="image"),
            Comparison(first="maxima", second="image"),
            Comparison(first="reconstruction", second="sobel", counted=False),
            Comparison(first="reconstruction", second="unsharp", counted=False),
        ]
