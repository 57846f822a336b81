"""JSON files with one line an entry of a list: short, and a change of one entry is a change of one line."""

import json
import os
from pathlib import Path
from typing import Any


def write_compact_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON object; each item of a list or object in it has a line. Atomic."""
    lines = [f"{json.dumps(key)}: {_value(value)}" for key, value in document.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    os.replace(temporary, path)


def _value(value: Any) -> str:
    if isinstance(value, dict) and value:
        items = [f" {json.dumps(key)}: {_line(item)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n}"
    if isinstance(value, list | tuple) and value:
        return "[\n" + ",\n".join(f" {_line(item)}" for item in value) + "\n]"
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
