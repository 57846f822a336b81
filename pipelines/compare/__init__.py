"""The user's results beside the committed ones: `make compare`."""

from pipelines.compare.report import compare_results
from pipelines.compare.subjects import SUBJECTS, Subject

__all__ = ["SUBJECTS", "Subject", "compare_results"]
