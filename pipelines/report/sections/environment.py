"""On what data, code and machine the numbers were made."""

from pipelines.report.inputs import Inputs
from pipelines.report.page import Section


def section(inputs: Inputs) -> Section:
    """List what a reader needs to make the numbers again."""
    row = (inputs.recognition or inputs.distributed)[0]
    versions = [
        (key.removesuffix("_version").replace("_", "-"), str(row[key]))
        for key in row
        if key.endswith("_version")
    ]
    facts = [
        ("data set", f"{inputs.prepared['name']}, checksum {str(row['data_checksum'])[:12]}"),
        ("commit", str(row.get("commit"))),
        ("device", str(row.get("device"))),
        ("seed", str(row.get("seed"))),
        *versions,
    ]
    paragraphs = [
        "`make repro` makes this page again. `make compare` prints your numbers beside ours, with what differs in "
        "machine, commit and versions."
    ]
    return Section("environment", "Environment", paragraphs, facts=facts)
