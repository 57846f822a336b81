"""The data: samples of the training part, at the end of the page."""

from pipelines.report.inputs import Inputs
from pipelines.report.page import Section, embed


def section(inputs: Inputs) -> Section:
    """Show how many images there are, and some of them."""
    prepared = inputs.prepared
    parts = [
        f"{prepared[f'num_{part}']:,} images for {use}" for part, use in _PARTS if f"num_{part}" in prepared
    ]
    path = inputs.folder / "figures/samples.png"
    figures = [embed(path, f"Samples of the training part of {prepared['name']}.")] if path.exists() else []
    return Section(
        "data", "Data", [f"{prepared['name']}: {', '.join(parts)}."] if parts else [], figures=figures
    )


_PARTS = (("train", "training"), ("validation", "validation"), ("test", "testing"))
