"""List the public names of horovod_gq with their signatures, into horovod_gq/public_api.txt.

    python -m tools.public_api

Public is what a module names in `__all__` (one without it is internal), and of a class what has no underscore in
front. A test compares the list with the code, so that no change of it goes unseen (horovod_gq/README.md, "Stability").
"""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "horovod_gq"
LISTING = FOLDER / "public_api.txt"


def public_modules() -> list[str]:
    """Return the names of the modules with an `__all__`, the package itself first."""
    files = [
        file for file in sorted(FOLDER.glob("*.py")) if "\n__all__ = " in file.read_text(encoding="utf-8")
    ]
    return ["horovod_gq" if file.stem == "__init__" else f"horovod_gq.{file.stem}" for file in files]


def signature(function: Any) -> str:
    """Return names, kinds and defaults of the arguments; annotations are left to mypy."""
    found = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in found.parameters.items()
        if name != "self"
    ]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def members(name: str, owner: type) -> Iterator[str]:
    """Yield a line for each public attribute, property and method that the class itself defines."""
    attributes = {key for key in inspect.get_annotations(owner) if not key.startswith("_")}
    for key in sorted(attributes | {key for key in vars(owner) if not key.startswith("_")}):
        member = inspect.getattr_static(owner, key, None)
        if isinstance(member, property):
            yield f"{name}.{key} [property]"
        elif callable(member):
            yield f"{name}.{key}{signature(member)}"
        else:
            yield f"{name}.{key}"


def describe(module: str) -> Iterator[str]:
    """Yield the lines of one module: classes with their bases, functions, values."""
    loaded = importlib.import_module(module)
    for key in sorted(loaded.__all__):
        value = getattr(loaded, key)
        name = f"{module}.{key}"
        if not inspect.isclass(value):
            yield f"{name}{signature(value)}"
            continue
        bases = ", ".join(f"{base.__module__}.{base.__qualname__}" for base in value.__bases__)
        protocol = getattr(value, "_is_protocol", False)
        yield f"class {name}{'' if protocol else signature(value)}: {bases}"
        yield from members(name, value)


def listing() -> str:
    """Return the text of the list."""
    return "\n".join(line for module in public_modules() for line in describe(module)) + "\n"


if __name__ == "__main__":
    LISTING.write_text(listing(), encoding="utf-8")
