"""The committed results, made by the authors: read beside the user's own, written by no pipeline."""

from pathlib import Path

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
"""The same tree as the folder `results`, made by one run of each command at the commits that stand in the rows."""


def own_or_reference(results: Path, name: str) -> tuple[Path, bool]:
    """Return the file `name` of the folder `results`, or, where there is none, the committed one, and which it is.

    Returns the path and whether it is the committed one. It may be that neither exists.
    """
    own = results / name
    return (own, False) if own.exists() else (REFERENCE / name, True)
