"""The report: one page with what was found, interactive plots and all tables."""

from pipelines.report.build import build_report, rebuild_report
from pipelines.report.findings import findings

__all__ = ["build_report", "findings", "rebuild_report"]
