"""How the numbers were made, and what each strategy sends."""

from pipelines.report.grid import read_grid
from pipelines.report.inputs import Inputs
from pipelines.report.page import Detail, Section
from pipelines.tables import Column, make_table


def _rounded_percent(value: float) -> str:
    return f"{100 * value:.0f} %"


STRATEGIES = (
    Column("method", "method"),
    Column("description", "what it does"),
    Column("same_updates", "applies the average of its own gradients in every step"),
    Column("uncertainty", "mean error of its predictions", _rounded_percent),
)


def section(_: Inputs) -> Section:
    """Explain terms and rules in sentences of one thought."""
    grid = read_grid()
    rows = [
        {"method": name, **facts, "same_updates": "yes" if facts["same_updates"] else "no"}
        for name, facts in grid["methods"].items()
    ]
    return Section(
        "methods",
        "Methods",
        [
            "GQ packs each gradient into integers of 2, 4, 8 or 16 bits. Every worker adds what rounding lost to its "
            "next gradient (error feedback). Horovod sums the packed integers on the way: nobody unpacks between hops.",
            "Plain sums (sdp) are Horovod's own fp32 averages: the reference of every comparison.",
            "A step is as long as that of its slowest worker. Warm-up steps are not timed.",
            "A predicted step is simulated: the recorded times of one worker's layers and codecs, the messages of the "
            "strategy, and the cost of a collective on the network. The grid's points are those of "
            "`python -m stages.speedup predict`.",
        ],
        details=[Detail("The strategies", table=make_table(rows, STRATEGIES))],
    )
