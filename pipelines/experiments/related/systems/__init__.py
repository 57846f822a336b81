"""The registered systems, one module each; importing this package registers them all."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from pipelines.config.loader import from_mapping
from pipelines.config.show import show_key
from pipelines.errors import UserError
from pipelines.experiments.related.config import RelatedConfig
from pipelines.experiments.related.system import SYSTEMS, System

__all__ = ["SYSTEMS", "build_system", "load_system", "load_systems"]

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names of systems and variants are parts of the names of files."""

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def build_system(config: RelatedConfig, name: str) -> System:
    """Build the system `name` from its entry in `related.systems` or `related.codecs`.

    Raises UserError in one line on an unknown system or option.
    """
    section = "codecs" if name in config.codecs else "systems"
    entries = {**config.systems, **config.codecs}
    if name not in entries:
        known = ", ".join(map(show_key, entries))
        raise UserError(f"related.systems: {show_key(name)} is no key of it; keys: {known}")
    system = SYSTEMS[name]
    built = system(name, from_mapping(system.Options, entries[name], f"related.{section}.{name}"))
    check_variants(built)
    return built


def load_system(config: RelatedConfig, name: str, params: Path) -> System:
    """Do the same, with the file `params`, which `config` is from, in the message of an error."""
    try:
        return build_system(config, name)
    except UserError as error:
        raise UserError(f"{params}: {error}") from None


def load_systems(config: RelatedConfig, params: Path) -> list[System]:
    """Build every system of the section, from the file `params`."""
    return [load_system(config, name, params) for name in (*config.systems, *config.codecs)]


def check_variants(system: System) -> None:
    """Raise ValueError where the variants of a system do not fit together: a mistake of its module."""
    seen: set[str] = set()
    for one in system.variants():
        if one.name in seen or NAME_PATTERN.fullmatch(one.name) is None:
            raise ValueError(
                f"{system.name}: the variant name {one.name!r} stands twice or is no name of a file"
            )
        if one.after is not None and one.after not in seen:
            raise ValueError(f"{system.name}: {one.name} comes after {one.after}, which must stand before it")
        if one.search is not None and (one.after, one.transform) != (None, None):
            raise ValueError(f"{system.name}: {one.name} searches; it comes after none and has no transform")
        seen.add(one.name)
    for pair in system.comparisons():
        if not {pair.first, pair.second} - {None} <= seen:
            raise ValueError(
                f"{system.name}: {pair.first} or {pair.second} is no variant that can be compared"
            )
