"""The report: one page with all tables and figures."""

from pipelines.report.build import build_report

__all__ = ["build_report"]
