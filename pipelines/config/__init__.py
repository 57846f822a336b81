"""Parameters: one frozen dataclass a section, loaded from params.yaml by one strict loader."""

from pipelines.config.loader import DEFAULT_PATH, load_section, load_yaml
from pipelines.config.validate import choice, require

__all__ = ["DEFAULT_PATH", "choice", "load_section", "load_yaml", "require"]
