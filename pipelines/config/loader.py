"""The strict loader of params.yaml: YAML 1.2, no duplicate keys, no unknown keys, no silent conversion.

PyYAML reads `5e-4` as text and keeps the last of two equal keys, so ruamel.yaml reads the file, as DVC does.
"""

import copy
import dataclasses
import functools
import math
import types
import typing
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from pipelines.config.show import one_line, show, show_key
from pipelines.config.validate import FieldError
from pipelines.errors import UserError

DEFAULT_PATH = Path("params.yaml")

Section = TypeVar("Section")

# What ruamel.yaml raises beside its own errors, on numbers, dates and tags that it cannot make a value of.
_GIVEN_UP = (
    YAMLError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping from `path`; UserError, in one line, for whatever cannot be read as one."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); run from the top of the checkout"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise UserError(f"{path}: line {line}: the byte 0x{byte:02x} is no UTF-8; save it as UTF-8") from None
    document = _parse(text, path)
    if not isinstance(document, dict):
        raise UserError(f"{path}: a mapping of sections is expected, found {type(document).__name__}")
    return copy.deepcopy(document)


# A stage asks for ten sections and parsing takes 50 ms; the text is the key, so a file that changes is parsed anew.
@functools.lru_cache(maxsize=4)
def _parse(text: str, path: Path) -> object:
    """Parse YAML 1.2; every way in which ruamel.yaml gives up on a text becomes a UserError."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        raise UserError(
            f"{path}: line {_line_of(error)}: {one_line(error.problem)}; each key may stand once"
        ) from None
    except MarkedYAMLError as error:
        raise UserError(
            f"{path}: line {_line_of(error)}: is no valid YAML: {one_line(error.problem)}"
        ) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = error.character if isinstance(error.character, str) else chr(error.character)
        raise UserError(
            f"{path}: line {line}: the character {character!r} is not allowed in YAML; remove it"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply; sections, keys and lists are expected") from None
    except _GIVEN_UP as error:
        raise UserError(f"{path}: is no valid YAML: {one_line(error) or type(error).__name__}") from None


def _line_of(error: MarkedYAMLError) -> int | str:
    return error.problem_mark.line + 1 if error.problem_mark else "?"


def load_section(cls: type[Section], name: str, path: Path = DEFAULT_PATH) -> Section:
    """Build the dataclass `cls` from section `name` of the file at `path`.

    `name` may be dotted (`methods.gq4`). Raises UserError, in one line with the file, the key, the value and
    what is allowed, on an unknown or missing key, a wrong type and a value out of range.
    """
    return section_of(load_yaml(path), cls, name, path)


def section_of(document: dict[str, Any], cls: type[Section], name: str, path: Path) -> Section:
    """Build `cls` from section `name` of the `document` that `load_yaml` read from `path`; see `load_section`."""
    values: Any = document
    for depth, part in enumerate(name.split(".")):
        where = ".".join(name.split(".")[: depth + 1])
        if not isinstance(values, dict) or part not in values:
            known = ", ".join(map(show_key, values)) if isinstance(values, dict) else "none"
            raise UserError(f"{path}: {where}: this section is missing; sections here: {known}")
        values = values[part]
    return from_mapping(cls, values, f"{path}: {name}")


def from_mapping(cls: type[Section], values: object, where: str) -> Section:
    """Build the dataclass `cls` from a mapping with exactly its fields; `where` prefixes every error."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: {show(values)} is not allowed; allowed: a mapping of keys to values")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UserError(
                f"{where}.{show_key(key)}: unknown key (value {show(values[key])}); "
                f"allowed: {', '.join(fields)}"
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
    """Return `value` as type `hint`; int passes for float, a list for a tuple, nothing else.

    Numbers must be finite, and text printable.
    """
    converted = _as_type(value, hint, where)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise UserError(f"{where}: {show(value)} is not allowed; allowed: a finite number")
    if isinstance(converted, str) and not converted.isprintable():
        raise UserError(f"{where}: {show(value)} is not allowed; allowed: printable text")
    return converted


def _as_type(value: object, hint: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, hint, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, where)
    if origin is tuple and isinstance(value, list):
        item = get_args(hint)[0]
        return tuple(_convert(element, item, f"{where}[{index}]") for index, element in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return _convert_mapping(value, get_args(hint)[1], where)
    # bool is a subclass of int, yet `epochs: true` is a mistake.
    whole = isinstance(value, int) and not isinstance(value, bool)
    if hint is float and whole:
        return _as_float(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is not int or whole):
        return value
    raise UserError(f"{where}: {show(value)} is not allowed; allowed: {_describe(hint)}")


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _convert_mapping(mapping: dict[Any, Any], item: Any, where: str) -> dict[str, Any]:
    """Return `mapping` with its keys as text and its values as type `item`."""
    converted: dict[str, Any] = {}
    for key, value in mapping.items():
        name = show_key(key)
        if name in converted:
            raise UserError(f"{where}.{name}: this key stands twice, as a number and as text")
        converted[name] = _convert(value, item, f"{where}.{name}")
    return converted


def _convert_union(value: object, hint: Any, where: str) -> Any:
    """Convert to the members of a union in turn; only `X | None` and unions of scalars are used."""
    members = get_args(hint)
    if value is None and type(None) in members:
        return None
    candidates = [member for member in members if member is not type(None)]
    for member in candidates[:-1]:
        try:
            return _as_type(value, member, where)
        except UserError:
            continue
    try:
        return _as_type(value, candidates[-1], where)
    except UserError:
        if len(members) > 2 or not dataclasses.is_dataclass(candidates[-1]):
            raise UserError(f"{where}: {show(value)} is not allowed; allowed: {_describe(hint)}") from None
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
