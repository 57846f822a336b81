"""Checks of a loaded state, made before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from horovod_gq.config import GQConfig


def check_config(state: Mapping[str, Any], config: GQConfig) -> None:
    """Raise a ValueError unless `state` was saved with the same settings."""
    for key in ("config", "tensors"):
        if key not in state:
            raise ValueError(f"this is no GQ state: the key {key!r} is missing")
    # A state from before a setting existed was saved with its default.
    saved, current = {**asdict(GQConfig()), **state["config"]}, asdict(config)
    if saved != current:
        differing = {key: value for key, value in saved.items() if value != current.get(key)}
        raise ValueError(
            f"the state was saved with {differing}, but this run uses {config}; use the saved settings"
        )


def check_tensors(tensors: Mapping[str, Any], expected: Mapping[str, tuple[tuple[int, ...], int]]) -> None:
    """Raise a ValueError unless the saved tensors have the expected names, shapes and widths.

    An empty state (saved before the first step) fits every model.
    """
    if not tensors:
        return
    missing, surplus = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or surplus:
        raise ValueError(f"the state fits another model: missing {missing[:3]}, unexpected {surplus[:3]}")
    for name, (shape, wire_bits) in expected.items():
        entry = tensors[name]
        found = (tuple(entry["residual"].shape), entry["wire_bits"])
        if found != (shape, wire_bits):
            raise ValueError(
                f"the state of {name} has shape and width {found}, expected {(shape, wire_bits)}"
            )
