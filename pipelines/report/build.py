"""Build the report: one self-contained HTML page with all tables and figures of a pipeline run."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pipelines.report.tables import DISTRIBUTED, RECOGNITION, SPEEDUP, Table, make_table
from pipelines.results import Row, read_json

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


def build_report(results: Path, page: Path) -> None:
    """Write the page from the result files in the folder `results`; a missing file raises UserError."""
    recognition = read_json(results / "recognition.json")
    distributed = read_json(results / "distributed.json")
    speedup = read_json(results / "speedup.json")
    prepared = read_json(results / "prepare.json")
    html = render_page(
        title="gqbench: DenseNet recognition and gradient quantization",
        subtitle="Every number on this page was measured by the pipeline run that wrote it (dvc repro).",
        facts=_facts(recognition, distributed, prepared),
        sections=[
            _data_section(results),
            _recognition_section(recognition, results),
            _distributed_section(distributed, results),
            _speedup_section(speedup, results),
        ],
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")


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


def _figures(results: Path, captions: dict[str, str]) -> list[Picture]:
    """Embed the figures named by glob patterns, in order; a pattern may match none (fewer models, say)."""
    return [
        embed(path, caption.format(name=path.stem.partition("-")[2]))
        for pattern, caption in captions.items()
        for path in sorted((results / "figures").glob(pattern))
    ]


def _facts(recognition: list[Row], distributed: list[Row], prepared: Row) -> list[tuple[str, str]]:
    """Say on what data, code and machine the numbers were made."""
    row = (recognition or distributed)[0]
    versions = [f"{key.removesuffix('_version')} {row[key]}" for key in row if key.endswith("_version")]
    return [
        ("data set", f"{prepared['name']}, checksum {str(row['data_checksum'])[:12]}"),
        ("commit", str(row.get("commit"))),
        ("device", str(row.get("device"))),
        ("versions", ", ".join(versions)),
    ]


def _data_section(results: Path) -> Section:
    return Section(
        "data", "Data", [], figures=_figures(results, {"samples.png": "Samples of the training part."})
    )


def _recognition_section(rows: list[Row], results: Path) -> Section:
    captions = {
        "recognition/curves.png": "Loss and accuracy by epoch; dotted lines: the learning rate drops.",
        "recognition/roc.png": "ROC of all models, macro average over the classes.",
        "recognition/roc-*.png": "ROC per class: {name}.",
        "recognition/confusion-*.png": "Confusion matrix on the test part: {name}.",
        "recognition/accuracy_parameters.png": "Test accuracy against the number of parameters.",
        "recognition/accuracy_seconds.png": "Test accuracy against the time of training.",
    }
    paragraphs = [
        "All models were trained by the same recipe; the checkpoint was chosen on the validation part."
    ]
    return Section(
        "recognition",
        "Recognition",
        paragraphs,
        make_table(rows, RECOGNITION),
        figures=_figures(results, captions),
    )


def _distributed_section(rows: list[Row], results: Path) -> Section:
    workers = " and ".join(str(number) for number in sorted({row["workers"] for row in rows}))
    paragraphs = [
        f"Real Horovod runs with {workers} workers from the same initial weights. A step is as long as its slowest "
        "worker; communication is what that worker waited for sums after its backward pass; bytes are the payload "
        "that a worker hands to the collectives, headers included.",
        "On one machine the network is memory, so compression costs time here and can gain none: what it gains "
        "on a real link is in the next section.",
    ]
    return Section(
        "distributed",
        "Distributed training",
        paragraphs,
        make_table(rows, DISTRIBUTED, group="model"),
        grouped="model",
        figures=_figures(
            results, {"distributed_curves.png": "Training loss of the distributed runs by epoch."}
        ),
    )


def _speedup_section(rows: list[Row], results: Path) -> Section:
    for row in rows:
        row["cell"] = f"{row['model']} {row['link']}"
    paragraphs = [
        "Acceleration over one worker = samples per second of all workers / of one worker without any exchange, "
        "timed in the same run. Rows named by a bandwidth are predicted: measured compute, encode and decode time "
        "plus the time that a ring all-reduce of the measured bytes takes on such a link, nothing overlapped.",
    ]
    captions = {
        "step_parts.png": "Measured parts of a step, with the acceleration over one worker on top.",
        "acceleration_by_link.png": "Predicted acceleration over one worker against the bandwidth of the link.",
    }
    return Section(
        "speedup",
        "Speed-up",
        paragraphs,
        make_table(rows, SPEEDUP, group="cell"),
        grouped="model and link",
        figures=_figures(results, captions),
    )
