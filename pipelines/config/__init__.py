"""Parameters: one frozen dataclass a section, loaded from params.yaml by one strict loader."""

from pipelines.config.loader import DEFAULT_PATH, load_section, load_yaml, section_of
from pipelines.config.validate import choice, different, number, require, whole

__all__ = [
    "DEFAULT_PATH",
    "choice",
    "different",
    "load_section",
    "load_yaml",
    "number",
    "require",
    "section_of",
    "whole",
]
