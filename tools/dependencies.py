"""Write the code dependencies of every DVC stage from what its module imports: `make deps`.

A stage depends on its module and on all project files that this imports, directly or not. A package without packages
inside is named as a folder, and so is one of which a stage imports everything; else its files are named one by one.
Files that hold nothing but a docstring are left out. A folder `data` of a package, committed with its code, counts as
code. What a stage depends on beside code is kept as it stands.
"""

import argparse
import ast
import functools
import io
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tools.project_imports import PACKAGES, ROOT, project_files

PIPELINES = (ROOT / "dvc.yaml", *sorted(ROOT.glob("experiments/*/dvc.yaml")))


def stage_module(stage: dict[str, Any]) -> Path:
    """Return the file of the module that a stage runs: its command is `python -m stages.NAME ...`."""
    return ROOT / (stage["cmd"].split()[2].replace(".", "/") + ".py")


def code_dependencies(module: Path) -> list[str]:
    """Return the files and folders, relative to the project, that the stage of `module` depends on, sorted."""
    files = {file for file in project_files(module) if not _is_empty(file)}
    # What every stage imports before it does anything, and what changes no result.
    files -= {ROOT / "stages/__init__.py"}
    folders = {folder for file in files for folder in _packages_of(file) if _counts_whole(folder, files)}
    outermost = {folder for folder in folders if not folders & set(folder.parents)}
    single = {file for file in files if not outermost & set(file.parents)}
    data = {folder for folder in _committed_data(files) if not outermost & set(folder.parents)}
    named = [str(path.relative_to(ROOT)) for path in sorted(outermost | single | data) if path != module]
    return [str(module.relative_to(ROOT)), *named]


def with_dependencies(text: str) -> str:
    """Return the text of a dvc.yaml with the dependencies of every stage brought up to date."""
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    for stage in document["stages"].values():
        others = [dep for dep in stage["deps"] if dep.split("/")[0] not in PACKAGES]
        module, *code = code_dependencies(stage_module(stage))
        stage["deps"][:] = [module, *others, *code]
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


@functools.cache
def _is_empty(file: Path) -> bool:
    """Whether a file holds nothing but a docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse(file.read_text(encoding="utf-8")).body)


def _packages_of(file: Path) -> list[Path]:
    """Return the folders of the packages below a root package that `file` is in; the plugin is one itself."""
    inside = file.relative_to(ROOT).parts[:-1]
    depths = range(1 if inside[0] == "horovod_gq" else 2, len(inside) + 1)
    return [ROOT.joinpath(*inside[:depth]) for depth in depths]


def _committed_data(files: set[Path]) -> set[Path]:
    """Return the folders `data` that lie in the packages of these files and hold no code: they are read by it."""
    beside = {folder / "data" for file in files for folder in _packages_of(file)}
    return {folder for folder in beside if folder.is_dir() and not any(folder.rglob("*.py"))}


def _counts_whole(folder: Path, files: set[Path]) -> bool:
    if folder.is_relative_to(ROOT / "stages"):
        return False
    modules = {path for path in folder.rglob("*.py") if not _is_empty(path)}
    return all(path.parent == folder for path in modules) or modules <= files


def main() -> None:
    """Rewrite what is stale; with --check, only say so and end with status 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.dependencies", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; status 1 where something is stale"
    )
    check = parser.parse_args().check
    stale = False
    for path in PIPELINES:
        old = path.read_text(encoding="utf-8")
        new = with_dependencies(old)
        if new == old:
            continue
        stale = True
        print(f"{path.relative_to(ROOT)}: {'stale; run make deps' if check else 'updated'}")
        if not check:
            path.write_text(new, encoding="utf-8")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
