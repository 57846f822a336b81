"""The page of the study, as HTML in one file and as Markdown."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.experiments.study.answers.claims import NOT_RUN, rate_drops
from pipelines.experiments.study.answers.collect import DataResults
from pipelines.experiments.study.answers.pairs import PAIRS, shown_pairs
from pipelines.experiments.study.answers.paper import shown_paper_run
from pipelines.experiments.study.answers.robustness import (
    REFERENCE,
    robustness_columns,
    robustness_rows,
    shown_robustness,
)
from pipelines.experiments.study.answers.tables import (
    ABLATION,
    COMPARISON,
    DROPS,
    TUNING,
    claim_rows,
    rate,
    shown_ablation,
    shown_comparison,
    shown_tuning,
)
from pipelines.report.claims import claims_section
from pipelines.report.page import Picture, Section, embed, render_page
from pipelines.results import Row
from pipelines.tables import Column, make_table, markdown

TITLE = "gqbench: the recognition study"
SUBTITLE = (
    "Every number on this page was measured by the pipeline of the study (make study), but for the published errors, "
    "which are quoted from the sources named below, and the run of the paper preset, which the main pipeline measures."
)
Pictures = Callable[[str, str], list[Picture]]


def write_page(found: Sequence[DataResults], paper_run: Row | None, folder: Path) -> None:
    """Write study.html, figures embedded, and study.md, figures linked, in `folder`.

    `paper_run` is the row of the paper preset, None where it was not run.
    """

    def embedded(name: str, caption: str) -> list[Picture]:
        path = folder / name
        return [embed(path, caption)] if path.exists() else []

    def linked(name: str, caption: str) -> list[Picture]:
        return [Picture(source=name, caption=caption)] if (folder / name).exists() else []

    facts = facts_of(found)
    html = render_page(TITLE, SUBTITLE, facts, sections_of(found, paper_run, embedded))
    (folder / "study.html").write_text(html, encoding="utf-8")
    text = render_markdown(facts, sections_of(found, paper_run, linked))
    (folder / "study.md").write_text(text, encoding="utf-8")


def facts_of(found: Sequence[DataResults]) -> list[tuple[str, str]]:
    """Say on what data, code and machine the numbers were made."""
    facts = []
    rows = [row for one in found for row in (*one.comparison, *one.curves, *one.ablation)]
    for one in found:
        checksums = {str(row["data_checksum"])[:12] for row in rows if row["data"] == one.data}
        facts.append((one.data, f"checksum {_listed(checksums)}" if checksums else NOT_RUN))
    versions = [key for key in (rows[0] if rows else {}) if key.endswith("_version")]
    for key in ("commit", "device", *versions):
        facts.append((key.replace("_", " "), _listed({str(row.get(key)) for row in rows}) or NOT_RUN))
    return facts


def sections_of(found: Sequence[DataResults], paper_run: Row | None, pictures: Pictures) -> list[Section]:
    """Return the page's sections: the answers, then each experiment on every data set."""
    sections = [claims_section([row for one in found for row in claim_rows(one.data, one.answer_claims())])]
    for experiment in (
        comparison_section,
        pairs_section,
        robustness_section,
        tuning_section,
        curves_section,
        ablation_section,
    ):
        sections += [experiment(one, pictures) for one in found]
    sections += [pictures_section(one, pictures) for one in found]
    return [*sections, paper_section(paper_run), not_run_section(found)]


def comparison_section(found: DataResults, _: Pictures) -> Section:
    """Show every model of a data set over its seeds."""
    summary = found.comparison_summary()
    sources = [
        f"{row['model']}: {row['published_source']}" for row in summary if row["published_source"] is not None
    ]
    notes = [
        f"Same recipe and budget for all. {_tuned(found)} Accuracy: mean ± standard deviation over n seeds. AUC: "
        "mean over seeds, in brackets the outermost bounds of the seeds' bootstrap intervals. NLL: mean negative "
        "log-likelihood in nats."
    ]
    if found.steps:
        first = found.steps[0]
        notes.append(
            "Training: the time of a run's steps, each taken as the median of steps that the models made in turns "
            f"(commit {first['commit']}, {first['device']}), without evaluation."
        )
    if sources:
        notes.append(
            "Published errors are on CIFAR-10, for orientation only: longer training on the whole set. Sources: "
            f"{'; '.join(sources)}."
        )
    return _section(
        "comparison",
        "Comparison",
        found.data,
        found.comparison,
        notes,
        shown_comparison(summary),
        COMPARISON,
    )


def pairs_section(found: DataResults, _: Pictures) -> Section:
    """Show every two models of a data set against each other."""
    notes = [
        "Difference: test accuracy of the model minus that of the other, mean over the seeds that neither diverged "
        "with, and its t interval, which speaks for further trainings, not for further test images; not corrected for "
        "the number of pairs.",
        "p: McNemar's exact test on the same test images, one for each of these seeds in their order, corrected for "
        "the pairs of that seed (Holm). The seeds share the test images, so their p-values are dependent and are not "
        "combined into one: the last column counts the seeds that reject equal accuracy.",
    ]
    rows = shown_pairs(found.compare_pairs())
    return _section("pairs", "Paired tests", found.data, found.comparison, notes, rows, PAIRS)


def robustness_section(found: DataResults, pictures: Pictures) -> Section:
    """Show what shifted test images do to every model of a data set."""
    notes = [
        "Test images with noise, blur, less contrast or JPEG compression at five severities (Hendrycks and Dietterich "
        "2019); training images are as they were. Error of a corruption: mean over severities and seeds. Relative: "
        f"mean over the corruptions of the error over that of {REFERENCE}.",
    ]
    rows = robustness_rows(found.corruption)
    figures = pictures(f"{found.data}_robustness.svg", f"{found.data}: test accuracy by severity.")
    columns = robustness_columns(rows)
    return _section(
        "robustness",
        "Shifted test images",
        found.data,
        found.corruption,
        notes,
        shown_robustness(rows),
        columns,
        figures=figures,
    )


def tuning_section(found: DataResults, _: Pictures) -> Section:
    """Show the tuning grid of a data set."""
    rows = shown_tuning(found.tuning)
    return _section("tuning", "Tuning", found.data, found.tuning, [_tuned(found)], rows, TUNING, "model")


def _tuned(found: DataResults) -> str:
    """Say how the initial rate of each model was found."""
    rates = sorted({row["learning_rate"] for row in found.tuning})
    listed = ", ".join(rate(value) for value in rates)
    if len(rates) == 1:
        return f"One initial rate for all models, {listed}: none was tuned."
    text = (
        f"Every model tried the same initial rates, {listed}, and was given the best on the validation part"
    )
    tried, trained = ({row["epochs"] for row in rows} for rows in (found.tuning, found.comparison))
    if tried == trained:
        return f"{text}."
    tried_epochs, epochs = (_listed({str(number) for number in numbers}) for numbers in (tried, trained))
    return f"{text}. Each rate was tried by a whole but shorter training (epochs: {tried_epochs} instead of {epochs})."


def curves_section(found: DataResults, pictures: Pictures) -> Section:
    """Show curves per depth, what happens where the rate drops, and the sweep over initial rates."""
    caption = "Loss and accuracy by epoch, per depth; dotted: the learning rate drops."
    figures = pictures(f"{found.data}_curves.svg", f"{found.data}: {caption}")
    sweep = "Validation accuracy after the last epoch against the initial rate."
    figures += pictures(f"{found.data}_rates.svg", f"{found.data}: {sweep}")
    notes = [
        "Stepwise schedule. Drop at epoch: the epoch within or at whose start the rate falls; after: the validation "
        "scores at the end of that epoch; before: those at the end of the previous one."
    ]
    rows = rate_drops(found.curves)
    return _section(
        "curves", "Learning rate and depth", found.data, found.curves, notes, rows, DROPS, figures=figures
    )


def ablation_section(found: DataResults, _: Pictures) -> Section:
    """Show what each change of the ablated model does."""
    models = _listed({row["model"] for row in found.ablation})
    notes = [
        f"{models} with one thing changed at a time, at the recipe's rate. Training steps were timed in rounds that "
        "take every variant in turn; peak memory is that of one training step in a process of its own."
    ]
    rows = shown_ablation(found.ablation_summary())
    return _section("ablation", "Ablation", found.data, found.ablation, notes, rows, ABLATION)


def pictures_section(found: DataResults, pictures: Pictures) -> Section:
    """Show accuracy against what it costs."""
    caption = (
        f"{found.data}: test accuracy against parameters, multiply-adds, memory and seconds of training."
    )
    figures = pictures(f"{found.data}_pareto.svg", caption)
    notes = [
        "Bars: one standard deviation over seeds; a single seed has none. Hollow: the ablated model with one thing "
        "changed, at the recipe's rate. The dashed line joins the networks that no other beats in both."
    ]
    return Section(
        f"pictures-{found.data}",
        f"Accuracy and cost: {found.data}",
        [_setting(found.data, found.comparison), *notes] if figures else [f"{found.data}: {NOT_RUN}."],
        figures=figures,
    )


def paper_section(paper_run: Row | None) -> Section:
    """Show the run of the paper preset, which is no part of the study."""
    notes = [
        "DenseNet-100 (BC, growth rate 12) on all of CIFAR-10 for 300 epochs, for an NVIDIA GPU: the run that dvc exp "
        "run -S scale=paper has left in results/, if any."
    ]
    return Section("paper", "The paper preset", notes, make_table([shown_paper_run(paper_run)], COMPARISON))


def not_run_section(found: Sequence[DataResults]) -> Section:
    """List what the parameters name and nothing has run."""
    missing = [f"{one.data}: {name}." for one in found for name in one.not_run]
    return Section("not-run", "Not run", missing or ["Nothing that the parameters name."])


def _section(
    anchor: str,
    heading: str,
    data: str,
    run: Sequence[Row],
    notes: Sequence[str],
    rows: Sequence[Row],
    columns: Sequence[Column],
    group: str | None = None,
    figures: Sequence[Picture] = (),
) -> Section:
    """Return the section on one experiment and data set: what was run, notes, table and figures."""
    where, title = f"{anchor}-{data}", f"{heading}: {data}"
    if not run:
        return Section(where, title, [f"{data}: {NOT_RUN}."])
    table = make_table(rows, columns, group) if rows else None
    return Section(where, title, [_setting(data, run), *notes], table, group, figures)


def _setting(data: str, rows: Sequence[Row]) -> str:
    """Say on how many images, for how many epochs, with which seeds and how many threads the rows were made."""
    seeds = sorted({row["seed"] for row in rows})
    images = f"{_listed({format(row['num_train_images'], ',') for row in rows})} training images"
    tested = {format(row["num_test"], ",") for row in rows if row.get("num_test") is not None}
    if tested:
        images += f", {_listed(tested)} test images"
    epochs = _listed({str(row["epochs"]) for row in rows})
    plural = "seed" if len(seeds) == 1 else "seeds"
    numbers = ", ".join(str(seed) for seed in seeds)
    threads = _threads({str(row["threads"]) for row in rows})
    return (
        f"Run on {data}: {images}, {epochs} epochs, {len(seeds)} {plural} ({numbers}), {threads} a training."
    )


def _threads(numbers: set[str]) -> str:
    return f"{_listed(numbers)} {'thread' if numbers == {'1'} else 'threads'}"


def _listed(values: set[str]) -> str:
    return " and ".join(sorted(values))


def render_markdown(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """Return the page as Markdown, pictures as links."""
    parts = [f"# {TITLE}", SUBTITLE, "\n".join(f"- {name}: {value}" for name, value in facts)]
    for section in sections:
        parts += [f"## {section.heading}", *section.paragraphs]
        if section.table is not None:
            parts.append(markdown(section.table))
        parts += [f"![{figure.caption}]({figure.source})" for figure in section.figures]
    return "\n\n".join(parts) + "\n"
