"""The tables of docs/results."""

from statistics import fmean, stdev
from typing import Any

from pipelines.experiments.study.answers.tables import ABLATION, COMPARISON, shown_ablation, shown_comparison
from pipelines.report.related import ANSWERS, RULE, answer_rows
from pipelines.report.time_to_accuracy import COLUMNS as SLOW_COLUMNS
from pipelines.report.time_to_accuracy import RULE as SLOW_RULE
from pipelines.report.time_to_accuracy import shown_rows
from pipelines.tables import Column, count, make_table, markdown, percent, seconds, times
from tools.headline import LINKS, MODELS
from tools.pages.rows import ENDS, Rows, commits, interval, rows_of, signed, table

CONVERGED = (
    *(
        "sdp",
        "sdp_fp16",
        "gq8_bucketed",
        "gq4_scatter",
        "gq2",
        "gq8_layerwise",
        "gq8_interval",
        "auto",
        "ssp",
    ),
    *("powersgd", "topk", "dgc", "qsgd", "terngrad", "signsgd"),
)


def recognition() -> str:
    """Return the models of the main pipeline."""
    rows = [
        row
        | {
            "accuracy": f"{percent(row['test_accuracy'])} "
            f"({100 * row['test_accuracy_low']:.1f} to {100 * row['test_accuracy_high']:.1f})",
            "auc": f"{row['auc_macro']:.4f}",
        }
        for row in rows_of("recognition.json")
    ]
    columns = (
        Column("model", "model"),
        Column("num_parameters", "parameters", count),
        Column("accuracy", "test accuracy"),
        Column("auc", "macro AUC"),
        Column("train_seconds", "training", seconds),
    )
    return markdown(make_table(rows, columns)) + f"\n\nCommit {commits(rows)}, {rows[0]['device']}."


def distributed() -> str:
    """Return the methods of the main pipeline, with the acceleration on links."""
    rows = rows_of("distributed.json")
    ratio = {(row["model"], row["method"], row["link"]): row for row in rows_of("speedup.json")}
    step = {(row["model"], row["method"]): row["step_seconds_median"] for row in rows}

    def on(row: dict[str, Any], link: str) -> str:
        cell = ratio[row["model"], row["method"], link]
        return times(cell["acceleration_ratio"]) + (
            "" if link == "measured" or cell["source"] != "measured" else " measured"
        )

    lines = [
        [
            *(row["model"], row["method"], count(row["wire_bytes_per_step"])),
            f"{1000 * row['step_seconds_median']:.0f} ms",
            f"{step[row['model'], row['method']] / step[row['model'], 'sdp']:.2f}",
            *(on(row, "measured"), percent(row["test_accuracy"]), on(row, "1000mbit"), on(row, "100mbit")),
        ]
        for row in rows
    ]
    headings = ["model", "method", "bytes a step", "step", "step over sdp", "acceleration", "test accuracy"]
    return (
        table([*headings, "on 1 Gbit/s", "on 100 Mbit/s"], lines)
        + f"\n\nCommit {commits(rows)}, {rows[0]['device']}."
    )


SHOWN = {
    "sdp": "sdp",
    "sdp_fp16": "fp16",
    "gq8_bucketed": "gq, 8 bits",
    "gq4_bucketed": "gq, 4 bits",
    "auto": "auto",
    "ssp": "ssp",
    "powersgd": "PowerSGD",
    "topk": "top-k",
    "dgc": "DGC",
    "qsgd": "QSGD",
}


def sweep() -> str:
    """Return the steps of two workers in the sweep, by model and link."""
    rows = rows_of("sweep/sweep.json")
    cells = {(row["model"], row["link"], row["method"]): row for row in rows if row["workers"] <= 2}
    lines = []
    for model in MODELS:
        for link in LINKS:
            cell = {method: cells[model, link, method] for method in ("alone", *SHOWN)}
            step = {method: row["step_seconds_median"] for method, row in cell.items()}
            sent = {method: cell[method]["wire_bytes_counted_per_step"] for method in ("sdp", "gq4_bucketed")}
            exposed = (
                cell["sdp"]["exposed_communication_seconds"]
                / cell["gq4_bucketed"]["exposed_communication_seconds"]
            )
            ratios = [
                f"{1000 * step[method]:.0f}"
                + ("" if method == "sdp" else f" ({times(step['sdp'] / step[method])})")
                for method in SHOWN
            ]
            bytes_sent = f"{sent['gq4_bucketed'] / 1000:,.0f} kB of {sent['sdp'] / 1000:,.0f}"
            lines.append([model, link, f"{1000 * step['alone']:.0f}", *ratios, bytes_sent, f"{exposed:.1f}×"])
    headings = ["model", "link", "one worker", *SHOWN.values(), "bytes, 4 bits", "exposed, fp32 over 4 bits"]
    return table(headings, lines) + f"\n\nCommits {commits(rows)}; each row of the file names its own."


def parity() -> str:
    """Return the tests for equal accuracy."""
    rows = rows_of("convergence/parity.json")
    lines = [
        [
            *(row["data"], row["model"], str(row["num_seeds"]), row["method"]),
            f"{percent(row['test_accuracy_mean'])} (`sdp`: {percent(row['reference_accuracy_mean'])})",
            interval(row, "difference_"),
            f"{row['equivalence_p_value']:.2g}",
            f"{row['not_worse_p_value']:.2g}",
        ]
        for row in rows
    ]
    margin = f"{rows[0]['margin_points']:g} points"
    headings = ["data", "model", "seeds", "method", "test accuracy", "over `sdp`, points (95 % interval)"]
    return table([*headings, f"p, equal within {margin}", f"p, not worse by {margin}"], lines)


def convergence() -> str:
    """Return accuracy and bytes of one seed of every method, by the number of workers."""
    rows = rows_of("convergence/convergence.json")
    last = {(row["method"], row["workers"]): row for row in rows}  # later epochs replace earlier ones
    workers = sorted({row["workers"] for row in rows})
    lines = [
        [
            method,
            *(f"{100 * last[method, number]['test_accuracy']:.1f} %" for number in workers),
            *(f"{last[method, number]['sent_megabytes']:.1f}" for number in workers),
        ]
        for method in dict.fromkeys((*CONVERGED, *(row["method"] for row in rows)))
        if (method, workers[0]) in last
    ]
    headings = [
        "method",
        *(f"{number} workers" for number in workers),
        *(f"MB at {number}" for number in workers),
    ]
    return table(headings, lines)


def claims() -> str:
    """Return the answers to the study's claims, with the tests that count."""
    lines = []
    for row in rows_of("study/study.json"):
        if row["experiment"] != "claim":
            continue
        if row["test"] is None:
            lines.append([row["statement"], row["data"], row["answer"], row["reason"] or ""])
        elif row["counted"]:
            unit, factor = ("nats", 1) if "loss" in row["test"] else ("points", 100)
            value, low, high = (factor * row[f"difference{end}"] for end in ENDS["difference"])
            text = f"{row['test']}: {signed(value)} {unit} ({signed(low)} to {signed(high)})"
            lines[-1][-1] = "; ".join(filter(None, (lines[-1][-1], text)))
    return table(["claim", "data", "answer", "tests: mean difference (95 % interval)"], lines)


def of_study(experiment: str, data: str) -> Rows:
    """Return the rows of one part of the study."""
    return [
        row for row in rows_of("study/study.json") if (row["experiment"], row["data"]) == (experiment, data)
    ]


def comparison(data: str) -> str:
    """Return the models of the study on a data set of the section `study`."""
    return markdown(make_table(shown_comparison(of_study("comparison_summary", data)), COMPARISON))


def ablation(data: str) -> str:
    """Return what each change of a model does, on a data set of the section `study`."""
    return markdown(make_table(shown_ablation(of_study("ablation_summary", data)), ABLATION))


def time_to_accuracy() -> str:
    """Return how much sooner each method reaches the accuracy of plain sums on the slow link."""
    rows = rows_of("time_to_accuracy/time_to_accuracy.json")
    return f"{markdown(make_table(shown_rows(rows), SLOW_COLUMNS, 'model'))}\n\n{SLOW_RULE} Commits {commits(rows)}."


def related() -> str:
    """Return the answers of the further systems."""
    rows = rows_of("related/related.json")
    made = commits([row for row in rows if "commit" in row])
    return (
        f"{markdown(make_table(answer_rows(rows), ANSWERS))}\n\n{RULE} Commits {made}.\n\n{by_workers(rows)}"
    )


def by_workers(rows: Rows) -> str:
    """Return in a sentence how far two workers under GQ end from one process, in trainings of the same seed."""
    pairs = [
        (row["workers_test_accuracy"], row["test_accuracy"])
        for row in rows
        if row["experiment"] == "run" and row.get("workers_test_accuracy") is not None
    ]
    points = [100 * (workers - alone) for workers, alone in pairs]
    return (
        f"Accuracy by two workers under 4-bit GQ less that by one process, of the same variant, data and seed: mean "
        f"{signed(fmean(points))} points over {len(points)} pairs, standard deviation {stdev(points):.1f}, from "
        f"{signed(min(points))} to {signed(max(points))}. One process keeps its best epoch on the validation part, the "
        "workers their last one."
    )
