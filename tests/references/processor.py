"""What IEEE 754 leaves open: another processor's matrix products and sums, for tests of bit-identical replicas."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OtherProcessor(TorchDispatchMode):
    """Sums in another order, and a product whose exact value fp32 cannot hold becomes the next larger value.

    Elementwise operations, which are rounded alike everywhere, stay as they are.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = str(func)
        if name.startswith("aten.index_add"):
            base, dim, index, source = args
            return func(base, dim, index.flip(0), source.flip(dim), **kwargs)
        if name in ("aten.mm.default", "aten.mm.out"):
            result = rounded_up(args[0].double() @ args[1].double(), args[0].dtype)
            return kwargs["out"].copy_(result) if "out" in kwargs else result
        if name == "aten.addmm_.default":
            exact = args[0].double() + kwargs["alpha"] * (args[1].double() @ args[2].double())
            return args[0].copy_(rounded_up(exact, args[0].dtype))
        if name == "aten.sum.dim_IntList":
            return func(args[0].flip(args[1]), *args[1:], **kwargs)
        if "mm" in name or "matmul" in name or "aten.sum" in name:
            raise NotImplementedError(f"{name} is not known to be the same everywhere")
        return func(*args, **kwargs)


def rounded_up(exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what `dtype` holds exactly as it is, and of the rest the value after the nearest one."""
    rounded = exact.to(dtype)
    larger = torch.nextafter(rounded, torch.full_like(rounded, float("inf")))
    return torch.where(rounded.double() == exact, rounded, larger)


def on_another_processor(exchange: Any) -> None:
    """Let an exchange of `horovod_gq` compute as `OtherProcessor` does, from now on."""
    for method in ("start", "advance", "finish"):
        original = getattr(exchange, method)

        def elsewhere(*arguments: Any, original: Any = original) -> None:
            with OtherProcessor():
                original(*arguments)

        setattr(exchange, method, elsewhere)
