"""Whole trainings on a slow link: how much sooner quantized gradients reach the accuracy of plain sums."""

from pipelines.report.inputs import Inputs, whose
from pipelines.report.page import Section
from pipelines.report.time_to_accuracy import COLUMNS, RULE, shown_rows
from pipelines.tables import make_table


def section(inputs: Inputs) -> Section:
    """Show the rows of the last `make time_to_accuracy`, or else of the authors' run; no dependency of the DAG."""
    rows, committed = inputs.experiment("time_to_accuracy/time_to_accuracy.json")
    anchor, heading = "time-to-accuracy", "Trained to the end on a slow link"
    if not rows:
        return Section(anchor, heading, ["Not run: make time_to_accuracy measures it."])
    first = rows[0]
    setting = (
        f"{first['data']}, {first['num_train_images']:,} training images of {first['image_size_pixels']} pixels a "
        f"side, {first['num_seeds']} seeds, links of {first['link']}: {whose(committed, 'make time_to_accuracy')}."
    )
    return Section(anchor, heading, [setting, RULE], make_table(shown_rows(rows), COLUMNS, "model"), "model")
