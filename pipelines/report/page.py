"""Pages of results: sections with answers, plots, tables and pictures as one self-contained HTML file."""

import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from pipelines.report.plots import CONFIG, Plot, plot_library
from pipelines.tables import Table

MEDIA_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Picture:
    """A figure embedded in the page."""

    source: str
    caption: str


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim, and the sentence that says why."""

    answer: str
    """`holds`, `does not hold`, `not decided` or `not run`."""
    claim: str
    evidence: str

    @property
    def tone(self) -> str:
        """Return the class of the answer's style."""
        return self.answer.replace(" ", "-")


@dataclass(frozen=True)
class Detail:
    """What a reader opens to see: a summary, and below it text and a table."""

    summary: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    grouped: str | None = None


@dataclass(frozen=True)
class Section:
    """One section of the page, shown in the order of the fields; `figures` come last."""

    anchor: str
    heading: str
    paragraphs: Sequence[str]
    table: Table | None = None
    grouped: str | None = None
    figures: Sequence[Picture] = field(default=())
    caption: str | None = None
    """Of the table; None: the heading."""
    verdicts: Sequence[Verdict] = ()
    plots: Sequence[Plot] = ()
    details: Sequence[Detail] = ()
    facts: Sequence[tuple[str, str]] = ()
    """Names and values."""
    widget: str | None = None
    """Name of a widget: `assets/NAME.html` is its markup, `assets/NAME.js` its script."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the widget's script reads."""


def render_page(
    title: str, subtitle: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> str:
    """Return a page as HTML; `facts` are names and values below the title.

    The plotting library is part of the page only where a section has plots.
    """
    environment = Environment(
        loader=PackageLoader("pipelines.report", "assets"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    environment.filters["prose"] = prose
    environment.globals["asset"] = _asset
    template = environment.get_template("page.html")
    drawn = any(section.plots or section.widget for section in sections)
    return template.render(
        title=title,
        subtitle=subtitle,
        facts=facts,
        sections=sections,
        plot_config=CONFIG,
        plot_library=Markup(plot_library()) if drawn else None,  # nosec B704 - the installed library
    )


def script_json(value: Any) -> Markup:
    """Return JSON that may stand in a script element: no `<` of a name can end it."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))  # nosec B704 - escaped


def prose(text: str) -> Markup:
    """Return a sentence for the page: what stands between backticks is code."""
    parts = [
        Markup("<code>{}</code>").format(part) if odd else escape(part)
        for part, odd in zip(text.split("`"), itertools.cycle((False, True)), strict=False)
    ]
    return Markup("").join(parts)


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "assets" / name).read_text(encoding="utf-8"))  # nosec B704 - ours


def embed(path: Path, caption: str) -> Picture:
    """Return the picture at `path` as a data URI, so that the page is one file that can be sent around."""
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return Picture(source=f"data:{MEDIA_TYPES[path.suffix]};base64,{encoded}", caption=caption)
