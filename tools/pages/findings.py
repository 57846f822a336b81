"""The README's table of questions and answers."""

from tools.headline import DATA, MODELS
from tools.pages.rows import interval, rows_of, table
from tools.pages.tables import SHOWN


def findings() -> str:
    """Return the README's questions and answers."""
    rows = [row for row in rows_of("sweep/sweep.json") if row["workers"] <= 2]
    step = {(row["model"], row["link"], row["method"]): row["step_seconds_median"] for row in rows}
    sent = {
        (row["model"], row["method"]): row["wire_bytes_counted_per_step"]
        for row in rows
        if row["link"] == "100mbit"
    }
    gain = {cell: step[*cell[:2], "sdp"] / seconds for cell, seconds in step.items()}

    def of_models(link: str) -> str:
        return (
            ", ".join(f"{name} {gain[model, link, 'gq4_bucketed']:.2f}" for model, name in MODELS.items())
            + " times"
        )

    def fewer(model: str) -> str:
        return f"{sent[model, 'sdp'] / sent[model, 'gq4_bucketed']:.1f}"

    fp16 = sorted(gain[model, "unshaped", "sdp_fp16"] for model in MODELS)
    rivals = [
        method
        for method in {cell[2] for cell in gain}
        if method in SHOWN and not method.startswith(("gq", "auto"))
    ]
    best = max(rivals, key=lambda method: gain["vgg16_bn", "100mbit", method])
    accuracy = [
        f"{DATA[row['data']]} {interval(row, 'difference_')}"
        for row in rows_of("convergence/parity.json")
        if row["method"] == "gq4_bucketed"
    ]
    answers = {
        (row["statement"], row["data"]): row["answer"]
        for row in rows_of("study/study.json")
        if "statement" in row and row["test"] is None
    }
    lines = [
        ("How much faster is a step on 100 Mbit/s?", of_models("100mbit"), "make sweep"),
        ("And on 1 Gbit/s?", of_models("1gbit"), "make sweep"),
        ("And where the network is memory?", of_models("unshaped"), "make sweep"),
        (
            "How many bytes does it send?",
            f"{fewer('densenet100')} times fewer than fp32 for DenseNet-100, {fewer('vgg16_bn')} for VGG-16",
            "make sweep",
        ),
        (
            "What does it cost in accuracy?",
            "Points over plain sums: " + ", ".join(accuracy),
            "make convergence",
        ),
        (
            "Who is faster?",
            f"{SHOWN[best]} with VGG-16 on 100 Mbit/s: {gain['vgg16_bn', '100mbit', best]:.1f} times",
            "make sweep",
        ),
        (
            "When does compression lose?",
            f"fp16 on unshaped links: {fp16[0]:.2f} to {fp16[-1]:.2f} times",
            "make sweep",
        ),
        *(
            (f'Does "{statement}" hold?', f"{answer} on {DATA[data]}", "make study")
            for (statement, data), answer in answers.items()
            if data == "digits"
        ),
    ]
    return table(
        ["question", "answer", "command"],
        [[question, answer, f"`{command}`"] for question, answer, command in lines],
    )
