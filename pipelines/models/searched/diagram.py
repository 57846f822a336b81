"""What a written network looks like, in words: for a picture of it from top to bottom."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.models.base import WRITTEN_MARK
from pipelines.models.searched import chain, shortcuts
from pipelines.models.searched.chain import Conv, Pool, chain_layers
from pipelines.models.searched.shortcuts import STEM_WIDTH, blocks_of

POOLINGS = {"max": "maximum pooling", "avg": "average pooling"}


@dataclass(frozen=True)
class Diagram:
    """Boxes from top to bottom, each fed by the one above it, and what else feeds them."""

    boxes: tuple[str, ...]
    shortcuts: tuple[tuple[int, int], ...]
    """Pairs of boxes: what comes out of the first is concatenated to what goes into the second."""


def diagram_of(name: str) -> Diagram | None:
    """Return the diagram of a model by its name; None for a model that is not written out in it."""
    family = name.partition(WRITTEN_MARK)[0]
    if family == chain.FAMILY:
        return Diagram(("image", *_chain_boxes(name), "linear to the classes"), ())
    return _blocks_diagram(name) if family == shortcuts.FAMILY else None


def _chain_boxes(name: str) -> Iterator[str]:
    for layer in chain_layers(name):
        if isinstance(layer, Conv):
            yield f"{layer.kernel}x{layer.kernel} convolution, {layer.maps} maps{_stride(layer.stride)}"
        elif isinstance(layer, Pool):
            yield f"{layer.kernel}x{layer.kernel} {POOLINGS[layer.kind]}{_stride(layer.stride)}"
        else:
            yield f"fully connected, {layer.units}"


def _stride(stride: int) -> str:
    return f", stride {stride}" if stride > 1 else ""


def _blocks_diagram(name: str) -> Diagram:
    """Return a box for the stem and each transition (a block's input), for each layer, and for what follows a block."""
    boxes = ["image", f"3x3 convolution, {STEM_WIDTH} maps"]
    arrows: list[tuple[int, int]] = []
    blocks = blocks_of(name)
    for index, block in enumerate(blocks):
        first = len(boxes) - 1  # the block's input is output 0
        boxes += [
            f"block {index + 1}, layer {layer}: {block.growth} maps"
            for layer in range(1, block.num_layers + 1)
        ]
        boxes.append(
            "transition to half the maps" if index + 1 < len(blocks) else "average, linear to the classes"
        )
        for t in range(1, block.num_layers + 1):
            arrows += [(first + j, first + t + 1) for j in block.sources(t)[:-1]]
    return Diagram(tuple(boxes), tuple(arrows))
