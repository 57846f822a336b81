"""The one module that imports Horovod."""

from __future__ import annotations

from types import ModuleType


def load_horovod() -> ModuleType:
    """Return `horovod.torch`.

    Raises:
        ImportError: Horovod is not installed; the message says how to get it and what works without it.
    """
    try:
        import horovod.torch as hvd
    except ImportError as error:
        raise ImportError(
            "GQ over Horovod needs the package horovod (HOROVOD_WITH_PYTORCH=1 pip install horovod); "
            "horovod_gq.ddp and horovod_gq.virtual work without it"
        ) from error
    module: ModuleType = hvd
    return module


def horovod_world() -> tuple[int, int]:
    """Return (rank, number of workers).

    Raises:
        ValueError: hvd.init() has not been called.
    """
    hvd = load_horovod()
    if not hvd.is_initialized():
        raise ValueError("Horovod is not initialized: call hvd.init() before the first backward pass with GQ")
    return int(hvd.rank()), int(hvd.size())
