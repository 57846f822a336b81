"""Write the grid of predictions that the report's explorer shows; commit what it writes.

Run: python -m benchmarks.explorer_grid    after a change of the calibration, the traces or the simulator
"""

from pipelines.provenance import provenance
from pipelines.report.grid import GRID
from pipelines.results.compact import write_compact_json
from pipelines.speedup.grid import grid


def main() -> None:
    """Write the file beside the report's code."""
    made = {"command": "python -m benchmarks.explorer_grid", "commit": provenance("cpu")["commit"]}
    write_compact_json(GRID, grid() | {"provenance": made})
    print(f"{GRID}: {GRID.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
