"""Direct Quantization: weights and activations of few bits, their levels and codes trained without float weights."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from torch import nn

from pipelines.config import different, number, require, whole
from pipelines.experiments.related.system import (
    MOST_FACTOR,
    SYSTEMS,
    Comparison,
    Context,
    Role,
    System,
    Variant,
)
from pipelines.inference.quantized import load_quantized, save_quantized
from pipelines.models.quantization import quantize
from pipelines.models.quantization.basis import MOST_BITS
from pipelines.results import Row
from pipelines.tables import Column, count, percent
from pipelines.training import loss_and_accuracy, predict_logits
from pipelines.training.config import MOST_RATE

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class DirectQuantizationOptions:
    """Parameters of Direct Quantization; `related.systems.direct_quantization`."""

    model: str
    """Model that is quantized; its convolutions read what a ReLU gave."""
    bits: int
    """Bits of weights and activations that the claim is tested at."""
    other_bits: tuple[int, ...]
    """Further bits of the system alone."""
    rates: tuple[float, ...]
    """Initial learning rates that are tried; the network is trained already."""
    epochs: float
    """Of the epochs of a data set, how many a quantized network is trained after the float32 one has had all."""
    margin: float
    """Test accuracy that may be lost and is still "at the accuracy of floating point"; 0.01: one point."""

    def __post_init__(self) -> None:
        whole(self, "bits", "other_bits", most=MOST_BITS)
        different(self, "other_bits")
        fits = self.bits not in self.other_bits
        require(fits, "other_bits", list(self.other_bits), f"other bits than bits, {self.bits}")
        number(self, "rates", above=0.0, most=MOST_RATE)
        different(self, "rates", least=1)
        number(self, "epochs", above=0.0, most=MOST_FACTOR)
        number(self, "margin", least=0.0, below=1.0)


@SYSTEMS.register("direct_quantization")
class DirectQuantization(System):
    """Direct Quantization at few bits, its parts alone, and LQ-Nets and LSQ, from the same trained networks."""

    Options = DirectQuantizationOptions
    options: DirectQuantizationOptions
    source: ClassVar[str] = (
        "Hoang, Do, Nguyen and Cheung, Direct Quantization for Training Highly Accurate Low Bit-width Deep Neural "
        "Networks, IJCAI 2020, arXiv:2012.13762"
    )
    claim: ClassVar[str] = (
        "Weights whose quantized values are updated directly, with learnable levels, and activation quantizers that "
        "serve the majority of channels give networks of few bits the accuracy of floating point."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (
        Column("exported_bytes", "bytes of the file", count),
        Column("exported_test_accuracy", "accuracy from the file", percent),
    )

    def variants(self) -> Sequence[Variant]:
        """Return the float network, the same trained as long as the others, and its quantizations."""
        model, bits = self.options.model, self.options.bits
        table: list[tuple[str, Role, str, str, int | None, int | None]] = [
            ("dq", Role.SYSTEM, "Direct Quantization", "dq", bits, bits),
            ("dq_weights", Role.ABLATION, "Direct Quantization, weights alone", "dq", bits, None),
            ("dq_activations", Role.ABLATION, "Direct Quantization, activations alone", "dq", None, bits),
            ("lqnets", Role.PEER, "LQ-Nets", "lqnets", bits, bits),
            ("lsq", Role.PEER, "LSQ", "lsq", bits, bits),
            *(
                (f"dq{other}", Role.ABLATION, "Direct Quantization", "dq", other, other)
                for other in self.options.other_bits
            ),
        ]
        return [
            Variant(name="float", role=Role.BASELINE, what="float32", model=model),
            Variant(
                name="float_longer",
                role=Role.ABLATION,
                what="float32, trained as long as start and quantized network together",
                model=model,
                epochs=1.0 + self.options.epochs,
            ),
            *(
                Variant(
                    name=name,
                    role=role,
                    what=f"{what}, {weights or activations} bits",
                    model=model,
                    after="float",
                    change=partial(
                        quantized, method=method, weight_bits=weights, activation_bits=activations
                    ),
                    rates=self.options.rates,
                    epochs=self.options.epochs,
                )
                for name, role, what, method, weights, activations in table
            ),
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that nothing is lost against floating point; the peers are for orientation."""
        return [
            Comparison(first="dq", second="float", margin=self.options.margin),
            *(
                Comparison(first="dq", second=peer, counted=False)
                for peer in ("lqnets", "lsq", "float_longer")
            ),
        ]

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Write the network as a file, read it again, and return the file's bytes and its test accuracy."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.npz"
            size = save_quantized(network, path)
            loaded = load_quantized(path)
        data = context.data
        logits = predict_logits(loaded, data.test, data, batch_size=BATCH_SIZE)
        return {
            "exported_bytes": size,
            "exported_test_accuracy": loss_and_accuracy(logits, data.test.labels)[1],
        }


def quantized(
    _: nn.Module, context: Context, *, method: str, weight_bits: int | None, activation_bits: int | None
) -> nn.Module:
    """Return the source with quantized layers; see `quantize`."""
    return quantize(context.start, method, weight_bits=weight_bits, activation_bits=activation_bits)
