"""Which files of the project a module imports, found in the syntax tree (lazy imports inside functions included)."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("stages", "pipelines", "horovod_gq")


@functools.cache
def module_file(name: str) -> Path | None:
    """Return the file of the project's module `name`, None for anything else."""
    if name.split(".")[0] not in PACKAGES:
        return None
    base = ROOT.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def imported_modules(file: Path) -> frozenset[str]:
    """Return the names of the modules that `file` imports, parents included (importing a.b runs a/__init__)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: the project imports absolutely"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(".".join(name.split(".")[: i + 1]) for name in names for i in range(name.count(".") + 1))


def project_files(file: Path) -> set[Path]:
    """Return `file` and all project files that it imports, directly or not.

    A package that discovers its modules itself (`iter_modules`) imports all of its files and packages.
    """
    seen: set[Path] = set()
    todo = [file]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if current.name == "__init__.py" and "iter_modules" in current.read_text(encoding="utf-8"):
            todo.extend(current.parent.glob("*.py"))
            todo.extend(current.parent.glob("*/__init__.py"))
        todo.extend(filter(None, map(module_file, imported_modules(current))))
    return seen
