"""The pages: every relative link leads to a committed file, the site names every page, the README stays short."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.imports import ROOT
from tools.headline import main as draw_headline
from tools.pages.__main__ import PAGES as PAGES_WITH_TABLES
from tools.pages.__main__ import render

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "reference/*.md", "reference/*/*.md", "horovod_gq/*.md")
    for page in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the names that headings of a page have as targets of links."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads to nothing"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_the_site_names_every_page_of_docs() -> None:
    named = set(re.findall(r"docs/[\w/]+\.md", str(YAML().load(ROOT / "mkdocs.yml")["nav"])))
    assert named == {str(page.relative_to(ROOT)) for page in PAGES if page.is_relative_to(ROOT / "docs")}


def test_the_reference_names_every_section_of_the_parameters() -> None:
    text = (ROOT / "docs/reference/parameters.md").read_text()
    named = {name for heading in re.findall(r"(?m)^## (.+)$", text) for name in heading.split(" and ")}
    assert named | {"methods"} == set(YAML().load(ROOT / "params.yaml"))


def test_the_reference_names_every_stage() -> None:
    text = (ROOT / "docs/reference/commands.md").read_text()
    stages = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in ROOT.glob("stages/**/*.py")
        if path.name != "__init__.py"
    }
    assert set(re.findall(r"::: ([\w.]+)", text)) == stages


def test_the_readme_is_three_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_headline_picture_shows_the_committed_results(tmp_path: Path) -> None:
    draw_headline(tmp_path / "headline.svg")
    committed = (ROOT / "docs/pictures/headline.svg").read_text()
    assert (tmp_path / "headline.svg").read_text() == committed, "draw it anew: python -m tools.headline"


@pytest.mark.parametrize("page", PAGES_WITH_TABLES, ids=lambda page: page.name)
def test_the_tables_show_the_committed_results(page: Path) -> None:
    assert render(page) == page.read_text(), "write them anew: make tables"
