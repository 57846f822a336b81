"""Pages of results: sections with tables and figures as one self-contained HTML file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pipelines.tables import Table

MEDIA_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Picture:
    """A figure embedded in the page."""

    source: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    anchor: str
    heading: str
    paragraphs: Sequence[str]
    table: Table | None = None
    grouped: str | None = None
    figures: Sequence[Picture] = field(default=())


def render_page(
    title: str, subtitle: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> str:
    """Return a page as HTML; `facts` are names and values below the title."""
    environment = Environment(
        loader=PackageLoader("pipelines.report", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
    )
    template = environment.get_template("template.html")
    return template.render(title=title, subtitle=subtitle, facts=facts, sections=sections)


def embed(path: Path, caption: str) -> Picture:
    """Return the picture at `path` as a data URI, so that the page is one file that can be sent around."""
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return Picture(source=f"data:{MEDIA_TYPES[path.suffix]};base64,{encoded}", caption=caption)
