"""Import torchvision when it is first used, and also where its C++ operators cannot load.

The import takes two seconds, because it brings torch's compiler with it; most processes need neither.

torchvision's registry wheel is built against CUDA. Beside a CPU-only torch its operators are missing and
`import torchvision` fails at the fake kernels of `nms` and `qnms`, which models, datasets and transforms do
not need. Declaring the two schemas first makes it importable:
`from pipelines.torchvision_compat import torchvision`.
"""

import functools
import importlib
from types import ModuleType
from typing import Any

import torch

# As in torchvision/csrc/ops/nms.cpp and quantized/; calling them still raises, for no kernel exists.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A torch.library.Library takes its declarations back when it is collected: it must live on.
_declarations: list[torch.library.Library] = []


@functools.cache
def _import_torchvision() -> ModuleType:
    """Return torchvision, the schemas of its missing operators declared where (and only where) needed."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declarations.append(library)
    return importlib.import_module("torchvision")


class _Torchvision(ModuleType):
    """Stands for the module until an attribute is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_import_torchvision(), name)


torchvision = _Torchvision("torchvision")
