"""A quantized network as a file: the codes of its weights packed to their bits, all else as float32.

An `.npz` archive without pickles that holds three arrays, so that nearly all of its bytes are the network's:

    header: JSON in UTF-8: format, specification
    codes: per quantized layer, in the model's order, b bit planes of the codes' numbers, the lowest bit first, each
        padded to a byte
    floats: every other parameter and every statistic, in the order of the state
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipelines.data.archives import read_npz
from pipelines.errors import UserError
from pipelines.models import DenseNetConfig, ModelSpec, build_from_spec, spec_of
from pipelines.models.quantization import WeightSource

FORMAT = "gqbench-quantized-1"
Bytes = npt.NDArray[np.uint8]


def save_quantized(model: nn.Module, path: Path) -> int:
    """Write the quantized `model` (from `quantize`, on the CPU) to `path`, an .npz file; return the file's bytes.

    Only what evaluation needs is kept: float weights behind rounded ones, and by how far a code is certain, are not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = [pack_planes(source.code_numbers(), source.bits) for source in _sources(model).values()]
    floats = [tensor.detach().float().flatten() for tensor in _kept(model).values()]
    header = json.dumps({"format": FORMAT, "spec": asdict(spec_of(model))}).encode()
    with path.open("wb") as file:  # numpy would append .npz to another name
        np.savez(
            file,
            header=np.frombuffer(header, dtype=np.uint8),
            codes=np.concatenate([np.zeros(0, dtype=np.uint8), *codes]),
            floats=torch.cat(floats).numpy(),
        )
    return path.stat().st_size


def load_quantized(path: Path) -> nn.Module:
    """Return the network in the file at `path`, on the CPU in evaluation mode; its outputs are those of the saved one.

    Nothing in the file is executed. Raises UserError where it is missing, damaged or of another kind.
    """
    arrays = read_npz(path, ("header", "codes", "floats"))
    try:
        model = build_from_spec(_read_spec(arrays["header"].tobytes()))
        codes, floats = (
            arrays["codes"].astype(np.uint8),
            torch.from_numpy(arrays["floats"].astype(np.float32)),
        )
        _take_floats(model, floats)
        _take_codes(model, codes)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: is no quantized network of this suite, or a damaged one; export it again"
        ) from None
    return model.eval()


def packed_planes_bytes(count: int, bits: int) -> int:
    """Return the bytes of `count` codes of `bits`: every plane is padded to a byte."""
    return bits * -(-count // 8)


def pack_planes(numbers: Tensor, bits: int) -> Bytes:
    """Return whole numbers below 2^bits as bit planes, uint8 [packed_planes_bytes]."""
    flat = numbers.flatten().numpy()
    return np.concatenate([np.packbits((flat >> bit & 1).astype(np.uint8)) for bit in range(bits)])


def unpack_planes(packed: Bytes, count: int, bits: int) -> Tensor:
    """Return the int64 [count] numbers that `pack_planes` packed."""
    planes = packed.reshape(bits, -1)
    digits = np.stack([np.unpackbits(plane, count=count) for plane in planes]).astype(np.int64)
    return torch.from_numpy((digits << np.arange(bits)[:, None]).sum(0))


def _sources(model: nn.Module) -> dict[str, WeightSource]:
    return {name: module for name, module in model.named_modules() if isinstance(module, WeightSource)}


def _kept(model: nn.Module) -> dict[str, Tensor]:
    """Return the entries of the state that a file holds as floats: all but codes, and the counts of batch norms."""
    left_out = {f"{name}.{source.free}" for name, source in _sources(model).items()}
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name not in left_out and tensor.is_floating_point()
    }


def _read_spec(header: bytes) -> ModelSpec:
    content: dict[str, Any] = json.loads(header)
    if content["format"] != FORMAT:
        raise ValueError("another format")
    spec = content["spec"]
    if spec["densenet"] is not None:
        blocks = {depth: tuple(layers) for depth, layers in spec["densenet"]["blocks"].items()}
        spec["densenet"] = DenseNetConfig(**spec["densenet"] | {"blocks": blocks})
    return ModelSpec(**spec)


def _take_floats(model: nn.Module, floats: Tensor) -> None:
    kept = _kept(model)
    parts = torch.split(floats, [tensor.numel() for tensor in kept.values()])
    with torch.no_grad():
        for tensor, part in zip(kept.values(), parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _take_codes(model: nn.Module, codes: Bytes) -> None:
    start = 0
    for source in _sources(model).values():
        count = source.shape.numel()
        size = packed_planes_bytes(count, source.bits)
        numbers = unpack_planes(codes[start : start + size], count, source.bits)
        source.take_codes(numbers.view(source.shape[0], -1))
        start += size
    if start != len(codes):
        raise ValueError("another number of codes")
