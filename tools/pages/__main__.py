"""Write the tables of the pages from the committed results: `make tables`.

A page of docs/results, or the README, has pairs of comments, `<!-- table NAME -->` and `<!-- end -->`; what stands
between them is made here from reference/. A test compares, so no number of a table can be of another run.
"""

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools.pages import tables
from tools.pages.findings import findings
from tools.project_imports import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs" / "results").glob("*.md")))
BLOCK = re.compile(r"(?s)(<!-- table (\w+) -->\n).*?(<!-- end -->)")
STUDIED = ("digits", "cifar10", "cifar10_whole", "fashion_mnist")
TABLES: dict[str, Callable[[], str]] = {
    **{
        maker.__name__: maker
        for maker in (
            findings,
            tables.recognition,
            tables.distributed,
            tables.sweep,
            tables.parity,
            tables.convergence,
            tables.claims,
            tables.related,
            tables.time_to_accuracy,
        )
    },
    **{f"comparison_{data}": partial(tables.comparison, data) for data in STUDIED},
    **{f"ablation_{data}": partial(tables.ablation, data) for data in STUDIED},
}


def render(page: Path) -> str:
    """Return the text of a page with its tables made anew; a name that is not in `TABLES` raises KeyError."""
    return BLOCK.sub(lambda block: block[1] + "\n" + TABLES[block[2]]() + "\n\n" + block[3], page.read_text())


def main() -> int:
    """Write the tables into the pages, or with --check say which pages are not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page would change")
    check = parser.parse_args().check
    stale = [page for page in PAGES if render(page) != page.read_text()]
    for page in stale:
        if check:
            print(f"{page.relative_to(ROOT)} is not up to date: make tables", file=sys.stderr)
        else:
            page.write_text(render(page))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
