"""Where a result comes from: commit, device and library versions, for every row and every logged run."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

_REPOSITORY = Path(__file__).resolve().parent.parent
# What a pipeline run itself writes: changed results do not make the code another one.
_OUTPUTS = (":!results", ":!dvc.lock")
_LIBRARIES = ("torch", "torchvision", "horovod", "numpy", "scikit-learn")


def provenance(device: torch.device | str) -> dict[str, str]:
    """Return the flat fields commit, device and `<library>_version` of a result row made on `device`."""
    return {"commit": commit(), "device": device_name(device), **library_versions()}


@functools.cache
def commit() -> str:
    """Return the short commit of this checkout, "-dirty" appended where code or parameters differ from it.

    Outside a git checkout, or before the first commit, it is "unknown".
    """
    head = _git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_OUTPUTS)
    return f"{head}-dirty" if changed else head


def _git(*arguments: str) -> str | None:
    """Return what git prints, stripped; None where git or the repository is missing."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, check=True, timeout=120
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def device_name(device: torch.device | str) -> str:
    """Return the name of the processor or GPU behind `device`, with the threads torch uses on a CPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {torch.get_num_threads()} threads"


@functools.cache
def _cpu_name() -> str:
    """Return the processor's own name from Linux, elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def library_versions() -> dict[str, str]:
    """Return `<library>_version` of Python and of the libraries that results depend on; "none": not installed."""
    versions = {"python_version": platform.python_version()}
    for library in _LIBRARIES:
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            version = "none"
        versions[f"{library.replace('-', '_')}_version"] = version
    return versions
