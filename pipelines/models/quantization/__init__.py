"""Networks whose weights and activations take 2 to 16 values: Direct Quantization, and LQ-Nets and LSQ as its peers.

Every convolution but the first is quantized; the first one, linear layers and batch normalisations stay in float32, as
in the papers. `resnet18-dq2` is a network with 2 bits for both; `dqw2` quantizes weights alone, `dqa2` activations.
"""

from pipelines.models.quantization.activations import BasisActivations, LsqActivations, waits_for_data
from pipelines.models.quantization.layers import METHODS, QuantizedLayer, quantize, quantized_layers
from pipelines.models.quantization.weights import BasisWeights, DirectWeights, LsqWeights, WeightSource

__all__ = [
    "METHODS",
    "BasisActivations",
    "BasisWeights",
    "DirectWeights",
    "LsqActivations",
    "LsqWeights",
    "QuantizedLayer",
    "WeightSource",
    "quantize",
    "quantized_layers",
    "waits_for_data",
]
