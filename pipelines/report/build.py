"""Build the report: one self-contained HTML page with all tables and figures of a pipeline run."""

import re
from dataclasses import replace
from pathlib import Path

from pipelines.report.claims import claims_section, read_claims
from pipelines.report.page import Picture, Section, embed, render_page
from pipelines.report.related import related_section
from pipelines.report.tables import DISTRIBUTED, PAIRS, RECOGNITION, SPEEDUP, shown_pairs, shown_recognition
from pipelines.results import Row, read_json
from pipelines.tables import make_table


def build_report(results: Path, page: Path) -> None:
    """Write the page from the result files in the folder `results`; a missing file raises UserError."""
    recognition = read_json(results / "recognition.json")
    pairs = read_json(results / "recognition_pairs.json")
    distributed = read_json(results / "distributed.json")
    speedup = read_json(results / "speedup.json")
    prepared = read_json(results / "prepare.json")
    html = render_page(
        title="gqbench: DenseNet recognition and gradient quantization",
        subtitle=(
            "Every number on this page was measured by the pipeline run that wrote it (dvc repro), but for what is "
            "marked as predicted or simulated, and for the answers to the study's claims, which take several seeds: "
            "they are those of the last make study, or, where there was none, of the authors' run."
        ),
        facts=_facts(recognition, distributed, prepared),
        sections=[
            _data_section(results),
            _recognition_section(recognition, results),
            _pairs_section(pairs),
            _claims_section(results),
            related_section(results),
            _distributed_section(distributed, results),
            _speedup_section(speedup, results),
        ],
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")


def rebuild_report(results: Path) -> None:
    """Write the report anew where there is one: an experiment has new answers for it."""
    page = results / "report.html"
    if page.exists():
        build_report(results, page)


def _figures(results: Path, captions: dict[str, str]) -> list[Picture]:
    """Embed the figures named by glob patterns, in order; a pattern may match none (fewer models, say).

    Those of one pattern follow each other by name, numbers by size: densenet50 before densenet100.
    """

    def by_name(path: Path) -> list[str]:
        return [part.zfill(9) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]

    return [
        embed(path, caption.format(name=path.stem.partition("-")[2]))
        for pattern, caption in captions.items()
        for path in sorted((results / "figures").glob(pattern), key=by_name)
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
        "recognition/curves.png": "Loss and accuracy by epoch.",
        "recognition/roc.png": "ROC of all models, macro average over the classes.",
        "recognition/roc-*.png": "ROC per class: {name}.",
        "recognition/confusion-*.png": "Confusion matrix on the test part: {name}.",
        "recognition/accuracy_parameters.png": "Test accuracy against the number of parameters.",
        "recognition/accuracy_seconds.png": "Test accuracy against the time of training.",
    }
    paragraphs = [
        "All models were trained by the same recipe; the checkpoint was chosen on the validation part. In brackets: "
        "bootstrap confidence interval over the test images, which tells nothing about other seeds."
    ]
    return Section(
        "recognition",
        "Recognition",
        paragraphs,
        make_table(shown_recognition(rows), RECOGNITION),
        figures=_figures(results, captions),
    )


def _pairs_section(rows: list[Row]) -> Section:
    paragraphs = [
        "Difference: test accuracy of the model minus that of the other. p: McNemar's exact test of equal accuracy on "
        "the same test images; p (Holm): corrected for the number of pairs. Each is one training: a small p tells that "
        "these two trained networks differ, not that another seed would tell the same."
    ]
    if not rows:
        return Section("pairs", "Paired tests", ["One model alone: no pair to test."])
    return Section("pairs", "Paired tests", paragraphs, make_table(shown_pairs(rows), PAIRS))


def _claims_section(results: Path) -> Section:
    """Show what the recognition study answered; no dependency of the DAG, which runs without the study's rows."""
    rows, origin = read_claims(results)
    answered = claims_section(rows)
    return replace(answered, paragraphs=[origin, *answered.paragraphs])


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
        "timed in the same run. Rows named by a bandwidth are predicted: the measured step plus what the simulator "
        "says that such a link adds.",
    ]
    captions = {
        "step_parts.png": "Measured parts of a step, with the acceleration over one worker on top.",
        "acceleration_by_link.png": "Predicted acceleration over one worker against the bandwidth of the link.",
        "scaling_acceleration.png": "Simulated acceleration ratio against the number of workers, by model and "
        "bandwidth of a host; circles: measured here, two workers, link not shaped; grey: a worker waits for "
        "longer than it computes.",
        "scaling_epoch.png": "Simulated time per epoch against the number of workers.",
        "crossover.png": "Simulated: the method with the shortest step, and how many times faster than plain sums "
        "it is.",
        "prediction_errors.png": "Predicted against measured steps of our sweep, on cells that the fit had not seen; "
        "band: 15 %.",
    }
    return Section(
        "speedup",
        "Speed-up",
        paragraphs,
        make_table(rows, SPEEDUP, group="cell"),
        grouped="model and link",
        figures=_figures(results, captions),
    )
