"""The README's table of questions and answers."""

from collections.abc import Iterator

from pipelines.experiments.study.answers.claims import NOT_RUN
from tools.headline import DATA, MODELS
from tools.pages.rows import interval, rows_of, table
from tools.pages.tables import SHOWN

GQ = "gq4_bucketed"
STUDIED = DATA | {"fashion_mnist": "Fashion-MNIST"}
LINKS = {
    "100mbit": "How much faster is a step on 100 Mbit/s?",
    "1gbit": "And on 1 Gbit/s?",
    "unshaped": "And where the network is memory?",
}
Answer = tuple[str, str, str]
"""Question, answer, and the command behind it."""


def findings() -> str:
    """Return the README's questions and answers, at most ten."""
    answers = [*_of_the_sweep(), _of_whole_trainings(), _of_the_accuracy(), *_of_the_study()]
    assert len(answers) <= 10
    lines = [[question, answer, f"`{command}`"] for question, answer, command in answers]
    return table(["question", "answer", "command"], lines)


def _of_the_sweep() -> Iterator[Answer]:
    """Yield what two workers gain and lose, times plain sums, and the bytes they save."""
    rows = [row for row in rows_of("sweep/sweep.json") if row["workers"] <= 2]
    step = {(row["model"], row["link"], row["method"]): row["step_seconds_median"] for row in rows}
    gain = {
        (model, link, one): step[model, link, "sdp"] / step[model, link, one] for model, link, one in step
    }
    for link, question in LINKS.items():
        gains = (f"{name} {gain[model, link, GQ]:.2f}" for model, name in MODELS.items())
        yield question, f"{', '.join(gains)} times", "make sweep"
    sent = {
        (row["model"], row["method"]): row["wire_bytes_counted_per_step"]
        for row in rows
        if row["link"] == "100mbit"
    }
    fewer = {model: f"{sent[model, 'sdp'] / sent[model, GQ]:.1f}" for model in MODELS}
    saved = f"{fewer['densenet100']} times fewer than fp32 for DenseNet-100, {fewer['vgg16_bn']} for VGG-16"
    yield "How many bytes does it send?", saved, "make sweep"
    cell = ("vgg16_bn", "100mbit")
    rivals = {one: gain[*cell, one] for one in SHOWN if not one.startswith(("gq", "auto"))}
    best = max(rivals, key=rivals.__getitem__)
    yield "Who is faster?", f"{SHOWN[best]} with VGG-16 on 100 Mbit/s: {rivals[best]:.1f} times", "make sweep"
    fp16 = sorted(gain[model, "unshaped", "sdp_fp16"] for model in MODELS)
    yield (
        "When does compression lose?",
        f"fp16 on unshaped links: {fp16[0]:.2f} to {fp16[-1]:.2f} times",
        "make sweep",
    )


def _of_whole_trainings() -> Answer:
    """Return how much sooner trainings on the slow link are as accurate as those with plain sums."""
    gains = []
    for row in rows_of("time_to_accuracy/time_to_accuracy.json"):
        if row["method"] == GQ:
            gain = f"not with {row['num_seeds'] - row['num_reached']} of {row['num_seeds']} seeds"
            if row["speed_up"] is not None:
                low, high = row["speed_up_low"], row["speed_up_high"]
                gain = f"{row['speed_up']:.2f} times ({low:.2f} to {high:.2f})"
            gains.append(f"{MODELS[row['model']]} {gain}")
    question = "How much sooner is a whole training on 100 Mbit/s as accurate?"
    return question, ", ".join(gains), "make time_to_accuracy"


def _of_the_accuracy() -> Answer:
    """Return what 4 bits cost, with the interval over seeds."""
    costs = (
        f"{DATA[row['data']]} {interval(row, 'difference_')}"
        for row in rows_of("convergence/parity.json")
        if row["method"] == GQ
    )
    return "What does it cost in accuracy?", f"Points over plain sums: {', '.join(costs)}", "make convergence"


def _of_the_study() -> Iterator[Answer]:
    """Yield a line a data set with the answers to the study's claims, those that have one."""
    answers: dict[str, list[str]] = {}
    for row in rows_of("study/study.json"):
        if row["experiment"] == "claim" and row["test"] is None and row["answer"] != NOT_RUN:
            answers.setdefault(row["data"], []).append(f"{row['statement']}: {row['answer']}")
    for data, found in answers.items():
        yield f"Do the study's claims hold on {STUDIED[data]}?", "; ".join(found), "make study"
