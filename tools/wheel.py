"""Build the plugin's sdist and, from that, its wheel; `make wheel`.

    python -m tools.wheel [FOLDER]

A wheel that is built from the sdist shows that the sdist is whole. Both are built by the setuptools of this
environment, in a copy, so that the checkout gets no build folder and an old build folder gets into no wheel.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "MANIFEST.in", "LICENSE", "horovod_gq", "examples")
FIRST_ZIP_TIME = "315532800"
"""1980-01-01, the first time that a zip file can hold."""


def build(folder: Path) -> tuple[Path, Path]:
    """Write sdist and wheel to `folder`, which is made where it does not exist; return their paths.

    Raises:
        subprocess.CalledProcessError: setuptools failed; its output is on standard error.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "source"
        copy.mkdir()
        for name in SOURCES:
            _copy(ROOT / name, copy / name)
        sdist = folder / _hook("build_sdist", copy, folder)
        with tarfile.open(sdist) as archive:
            archive.extractall(temporary)  # our own, made a moment ago; Python before 3.11.4 knows no filter
        unpacked = Path(temporary) / sdist.name.removesuffix(".tar.gz")
        return sdist, folder / _hook("build_wheel", unpacked, folder)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _hook(hook: str, source: Path, folder: Path) -> str:
    """Call a hook of PEP 517 in `source`; return the name of the file that it wrote to `folder`."""
    program = f"import sys; from setuptools import build_meta; print(build_meta.{hook}(sys.argv[1]))"
    environment = {"SOURCE_DATE_EPOCH": FIRST_ZIP_TIME, **os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    done.check_returncode()
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")):
        print(path)
