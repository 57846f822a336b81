"""The report: one page with all tables and figures."""

from pipelines.report.build import build_report, rebuild_report

__all__ = ["build_report", "rebuild_report"]
