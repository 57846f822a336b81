"""The strict loader of params.yaml: YAML 1.2, no duplicate keys, no unknown keys, no silent conversion.

PyYAML reads `5e-4` as text and keeps the last of two equal keys, so ruamel.yaml reads the file, as DVC does.
"""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

from pipelines.config.validate import FieldError
from pipelines.errors import UserError

DEFAULT_PATH = Path("params.yaml")

Section = TypeVar("Section")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping from `path`; an unreadable file or a duplicate key raises UserError."""
    yaml = YAML(typ="safe", pure=True)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); run from the top of the checkout"
        ) from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = str(error.problem).splitlines()[0]
        raise UserError(f"{path}: line {line}: {problem}; each key may stand once") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{path}: line {line}: is no valid YAML: {error.problem}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: a mapping of sections is expected, found {type(document).__name__}")
    return document


def load_section(cls: type[Section], name: str, path: Path = DEFAULT_PATH) -> Section:
    """Build the dataclass `cls` from section `name` of the file at `path`.

    `name` may be dotted (`methods.gq4`). Raises UserError, in one line with the file, the key, the value and
    what is allowed, on an unknown or missing key, a wrong type and a value out of range.
    """
    values: Any = load_yaml(path)
    for depth, part in enumerate(name.split(".")):
        where = ".".join(name.split(".")[: depth + 1])
        if not isinstance(values, dict) or part not in values:
            known = ", ".join(map(str, values)) if isinstance(values, dict) else "none"
            raise UserError(f"{path}: {where}: this section is missing; sections here: {known}")
        values = values[part]
    return from_mapping(cls, values, f"{path}: {name}")


def from_mapping(cls: type[Section], values: object, where: str) -> Section:
    """Build the dataclass `cls` from a mapping with exactly its fields; `where` prefixes every error."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: {values!r} is not allowed; allowed: a mapping of keys to values")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UserError(
                f"{where}.{key}: unknown key (value {values[key]!r}); allowed: {', '.join(fields)}"
            )
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for key, field in fields.items():
        if key in values:
            arguments[key] = _convert(values[key], hints[key], f"{where}.{key}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}.{key}: this key is missing; expected {_describe(hints[key])}")
    try:
        return cls(**arguments)
    except FieldError as error:
        raise UserError(f"{where}.{error}") from None


def _convert(value: object, hint: Any, where: str) -> Any:
    """Return `value` as type `hint`; int passes for float, a list for a tuple, nothing else."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, hint, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, where)
    if origin is tuple and isinstance(value, list):
        item = get_args(hint)[0]
        return tuple(_convert(element, item, f"{where}[{index}]") for index, element in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {
            str(key): _convert(element, get_args(hint)[1], f"{where}.{key}") for key, element in value.items()
        }
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is a subclass of int, yet `epochs: true` is a mistake.
    exact = (
        isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    )
    if not exact:
        raise UserError(f"{where}: {value!r} is not allowed; allowed: {_describe(hint)}")
    return value


def _convert_union(value: object, hint: Any, where: str) -> Any:
    """Convert to the members of a union in turn; only `X | None` and unions of scalars are used."""
    members = get_args(hint)
    if value is None and type(None) in members:
        return None
    candidates = [member for member in members if member is not type(None)]
    for member in candidates[:-1]:
        try:
            return _convert(value, member, where)
        except UserError:
            continue
    try:
        return _convert(value, candidates[-1], where)
    except UserError:
        if len(members) > 2 or not dataclasses.is_dataclass(candidates[-1]):
            raise UserError(f"{where}: {value!r} is not allowed; allowed: {_describe(hint)}") from None
        raise


def _describe(hint: Any) -> str:
    """Name a type in words a user of the parameter file knows."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(member) for member in get_args(hint))
    if origin is tuple:
        return f"a list of {_describe(get_args(hint)[0])}s".replace("a list of a ", "a list of ")
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a mapping"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(hint, str(hint))
