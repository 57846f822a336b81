"""The further systems of the literature: what they answered."""

from pipelines.report.inputs import Inputs
from pipelines.report.page import Section
from pipelines.report.related import related_section


def section(inputs: Inputs) -> Section:
    """Show the answers of the user's `make related`, or else of the authors'."""
    return related_section(inputs.folder)
