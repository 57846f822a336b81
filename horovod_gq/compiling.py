"""Compile a kernel once, for any number of rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch

Kernel = Callable[..., Any]
Example = tuple[torch.Tensor, int | None]
"""An argument of a kernel, and its dimension that has any length; None: no one."""

ONE_THREAD = threading.RLock()
"""Held while kernels are built and called: a variant is compiled at the first call that needs it, and torch fails
where another thread compiles meanwhile. Virtual workers are threads."""


def compile_kernel(function: Kernel, examples: Sequence[Example], max_reads: int) -> Kernel:
    """Return `function` compiled for arguments like `examples`, with any number of rows.

    All other lengths, and the numbers that the function refers to, become constants. Raises whatever the compilers
    that torch uses raise.

    torch keeps its compiled variants, at most a few, by code object, which all closures of a `def` share: a copy
    of the code gives each kernel a store of its own. Gradients are off in every call, because a variant is
    compiled for one grad mode, and hooks and user code run in different ones.

    Inductor would compute g + r once for the row statistic and once for the digits, in two passes over memory.
    Told to keep every value of more than `max_reads` reads, it fuses both into one pass (a third less time).
    """
    code = function.__code__.replace()
    own = FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)
    options: dict[str, Any] = {"realize_reads_threshold": max_reads}
    compiled = torch.compile(own, fullgraph=True, options=options)

    def run(*tensors: torch.Tensor) -> None:
        with ONE_THREAD, torch.no_grad():
            compiled(*tensors)

    for tensor, dimension in examples:
        if dimension is not None:
            torch._dynamo.mark_dynamic(tensor, dimension)
    run(*(tensor for tensor, _ in examples))
    return run
