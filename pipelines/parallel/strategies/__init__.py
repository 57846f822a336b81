"""The registered parallel strategies, one module each; importing this package registers them all.

Their bases, which share how gradients are laid out and when they are sent, are in `bases`.
"""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pipelines.config import load_yaml
from pipelines.config.loader import from_mapping
from pipelines.config.show import show, show_key
from pipelines.errors import UserError
from pipelines.parallel.strategy import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "build_method", "build_strategy", "strategy_of"]

METHOD_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""A method's name is part of the names of its files."""

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def build_strategy(method: str, params: Path) -> tuple[Strategy, dict[str, Any]]:
    """Build the strategy that the entry `methods.<method>` of the file `params` describes.

    Returns the strategy and the entry. Raises UserError in one line on an unknown method, strategy or option.
    """
    return build_method(load_yaml(params), method, params)


def build_method(document: dict[str, Any], method: Any, params: Path) -> tuple[Strategy, dict[str, Any]]:
    """Do the same with the `document` that `load_yaml` read from `params`."""
    methods = document.get("methods")
    if not isinstance(methods, dict) or method not in methods:
        known = ", ".join(map(show_key, methods)) if isinstance(methods, dict) else "none"
        raise UserError(
            f"{params}: distributed.methods: {show(method)} is no key of the section methods; keys: {known}"
        )
    where = f"{params}: methods.{show_key(method)}"
    if not isinstance(method, str) or METHOD_PATTERN.fullmatch(method) is None:
        raise UserError(
            f"{where}: this key is not allowed; allowed: letters, digits, _ and - (it names files)"
        )
    return strategy_of(methods[method], where), methods[method]


def strategy_of(entry: Any, where: str) -> Strategy:
    """Build the strategy that an entry of the section `methods` describes; `where` is its place, for errors.

    Raises UserError in one line on an unknown strategy or option.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("strategy"), str):
        raise UserError(f"{where}.strategy: this key is missing; allowed: {', '.join(STRATEGIES)}")
    if entry["strategy"] not in STRATEGIES:
        allowed = ", ".join(STRATEGIES)
        raise UserError(f"{where}.strategy: {show(entry['strategy'])} is not allowed; allowed: {allowed}")
    strategy = STRATEGIES[entry["strategy"]]
    given = {key: value for key, value in entry.items() if key != "strategy"}
    return strategy(from_mapping(strategy.Options, given, where))
