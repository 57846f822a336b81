"""Where the project is, for tests that read its files."""

from tools.project_imports import ROOT

__all__ = ["ROOT"]
