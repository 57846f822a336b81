"""The models: how well each recognizes images, and what it costs."""

from collections import Counter
from collections.abc import Sequence

import altair as alt

from pipelines.report.inputs import Inputs
from pipelines.report.page import Detail, Section
from pipelines.report.plots import ACCENT, INK, Chart, Panel, Plot, colored, epochs, legend, panel, rows_data
from pipelines.report.tables import PAIRS, RECOGNITION, RECOGNITION_SHORT, shown_pairs, shown_recognition
from pipelines.results import Row
from pipelines.tables import Table, make_table, percent

LOG_RATIO = 10
"""Costs that span more than this go on a logarithmic axis."""
EXPLODED = 1000
"""Times the median: a loss beyond it makes the axis logarithmic."""
MOST_POINTS = 200
"""Of a ROC curve: more make the page larger and the picture no better."""
AVERAGES = ("macro average", "micro average")
"""Rows of a ROC file that are no class."""
MOST_CLASSES = 20
"""With more, the cells of a confusion matrix have no room for numbers."""
ZOOMS = (0.1, 0.25, 0.5, 1.0)
HIGH = 0.99


def section(inputs: Inputs) -> Section:
    """Show the models' table, accuracy against cost, curves, ROC, confusion and the paired tests."""
    rows = inputs.recognition
    best = max(rows, key=lambda row: row["test_accuracy"])
    paragraphs = [
        f"All models were trained by the same recipe. {best['model']} has the highest test accuracy of this run, "
        f"{percent(best['test_accuracy'])}. One training a model says nothing about other seeds."
    ]
    shown = shown_recognition(rows)
    pairs = inputs.pairs
    return Section(
        "recognition",
        "Recognition",
        paragraphs,
        make_table(shown, RECOGNITION_SHORT),
        caption="Models on the test part. In brackets: 95 % bootstrap interval over the test images.",
        plots=[plot for plot in _plots(inputs, rows) if plot.panels],
        details=[
            Detail("All figures of the models", table=make_table(shown, RECOGNITION)),
            Detail("Paired tests of every two models", [_PAIRS_TEXT if pairs else _NO_PAIRS], _pairs(pairs)),
        ],
    )


_PAIRS_TEXT = (
    "Difference: test accuracy of the model minus that of the other. p: McNemar's exact test of equal accuracy on the "
    "same test images. p (Holm): corrected for the number of pairs. Each is one training: a small p tells that these "
    "two trained networks differ, not that another seed would tell the same."
)
_NO_PAIRS = "One model alone: no pair to test."


def _pairs(rows: Sequence[Row]) -> Table | None:
    return make_table(shown_pairs(rows), PAIRS) if rows else None


def _plots(inputs: Inputs, rows: Sequence[Row]) -> list[Plot]:
    models = [row["model"] for row in rows]
    best = max(rows, key=lambda row: row["test_accuracy"])
    curves = {name: history for name, history in inputs.series("train/curves") if name in models}
    averages = {name: points for name, points in inputs.series("evaluate/roc") if name in models}
    classes = {name: points for name, points in inputs.series("evaluate/roc_by_class") if name in models}
    found = dict(inputs.series("evaluate/confusion"))
    confusion = {name: found[name] for name in models if name in found}
    return [
        Plot(
            "Test accuracy against what a model costs. Bars: 95 % bootstrap intervals.",
            f"{best['model']} has the highest accuracy; the table above holds all values.",
            _costs(rows, models),
            legend(models),
            columns=2,
        ),
        Plot(
            "Training by epoch.",
            "Curves of loss and accuracy; the losses fall and the accuracies rise, the last values are in the table.",
            _curves(curves, models),
            legend(models),
        ),
        Plot(
            "ROC: the share of right answers found against the share of wrong ones let in. Note the scale of the axes.",
            "All curves lie close to the upper left corner; the areas below them are in the table.",
            [*_roc(averages, models), *_roc_by_class(classes)],
            legend(models),
            columns=2,
        ),
        Plot(
            "Confusion on the test part: how many images of each class (row) were taken for which (column).",
            _confusion_words(confusion),
            [_confusion(name, pairs) for name, pairs in confusion.items()],
        ),
    ]


def _costs(rows: Sequence[Row], models: Sequence[str]) -> list[Panel]:
    costs = {
        "num_parameters": ("Against parameters", "parameters", "~s"),
        "train_seconds": ("Against the time of training", "seconds of training", "~r"),
    }
    return [
        panel(title, _accuracy_against(rows, models, key, name, form))
        for key, (title, name, form) in costs.items()
        if all(row.get(key) for row in rows)
    ]


def _accuracy_against(rows: Sequence[Row], models: Sequence[str], key: str, name: str, form: str) -> Chart:
    values = [row[key] for row in rows]
    wide = max(values) > LOG_RATIO * min(values)
    scale = alt.Scale(type="log", nice=False, padding=20) if wide else alt.Scale(zero=True, padding=20)
    x = alt.X(f"{key}:Q", scale=scale, title=name, axis=alt.Axis(format=form, tickCount=5))
    y = alt.Y(
        "test_accuracy_low:Q", scale=alt.Scale(zero=False), title="test accuracy", axis=alt.Axis(format=".0%")
    )
    keys = ("model", key, "test_accuracy", "test_accuracy_low", "test_accuracy_high")
    base = alt.Chart(rows_data([{each: row[each] for each in keys} for row in rows])).encode(
        x=x, color=colored("model", models)
    )
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip(f"{key}:Q", title=name, format=","),
        alt.Tooltip("test_accuracy:Q", format=".2%"),
    ]
    bars = base.mark_rule(strokeWidth=3, opacity=0.5).encode(y=y, y2="test_accuracy_high:Q")
    return alt.layer(
        bars, base.mark_point(filled=True, size=80, opacity=1).encode(y="test_accuracy:Q", tooltip=tooltip)
    )


def _curves(curves: dict[str, list[Row]], models: Sequence[str]) -> list[Panel]:
    shown = (
        ("validation_accuracy", "Validation accuracy", ".0%"),
        ("validation_loss", "Validation loss", "~r"),
        ("train_loss", "Training loss", "~r"),
    )
    rows = [{"model": name, **row} for name, history in curves.items() for row in history]
    return [panel(title, _lines(rows, models, key, form)) for key, title, form in shown] if rows else []


def _lines(rows: Sequence[Row], models: Sequence[str], key: str, form: str) -> Chart:
    kept = [
        {"model": row["model"], "epoch": row["epoch"], key: row[key]} for row in rows if row[key] is not None
    ]
    values = [row[key] for row in kept if row[key] > 0] or [1]
    # A loss that exploded once would flatten all others.
    scale = (
        alt.Scale(type="log") if max(values) > EXPLODED * sorted(values)[len(values) // 2] else alt.Scale()
    )
    chart: alt.Chart = (
        alt.Chart(rows_data(kept))
        .mark_line(point=alt.OverlayMarkDef(size=30), strokeWidth=2)
        .encode(
            x=epochs(kept),
            y=alt.Y(f"{key}:Q", title=None, scale=scale, axis=alt.Axis(format=form, tickCount=5)),
            color=colored("model", models),
            tooltip=["model:N", "epoch:Q", alt.Tooltip(f"{key}:Q", format=".4")],
        )
    )
    return chart


def _roc(curves: dict[str, list[Row]], models: Sequence[str]) -> list[Panel]:
    rows = [{"model": name, **point} for name, points in curves.items() for point in thinned(points)]
    if not rows:
        return []
    zoom = zoom_of(list(curves.values()))
    return [
        panel("Macro average over the classes", _roc_lines(rows, zoom, colored("model", models), "model"))
    ]


def _roc_by_class(curves: dict[str, list[Row]]) -> list[Panel]:
    """Draw a line a class; the reader chooses the model."""
    rows = [
        {"model": name, "class": str(label), "fpr": point["fpr"], "tpr": point["tpr"]}
        for name, points in curves.items()
        for label, mine in _by_class(points).items()
        for point in thinned(mine)
    ]
    if not rows:
        return []
    zoom = zoom_of([mine for points in curves.values() for mine in _by_class(points).values()])
    names = list(curves)
    choice = alt.param("chosen", value=names[0], bind=alt.binding_select(options=names, name="Model: "))
    color = alt.Color("class:N", scale=alt.Scale(range=[ACCENT]))
    chart = (
        _roc_lines(rows, zoom, color, "class").add_params(choice).transform_filter("datum.model == chosen")
    )
    return [panel("Each class of one model", chart)]


def _by_class(points: Sequence[Row]) -> dict[object, list[Row]]:
    found: dict[object, list[Row]] = {}
    for point in points:
        label = point["class"]
        if label in AVERAGES:
            continue
        found.setdefault(int(label) if isinstance(label, float) else label, []).append(point)
    return found


def _roc_lines(rows: Sequence[Row], zoom: float, color: alt.Color, name: str) -> alt.Chart:
    form = alt.Axis(format="~%", tickCount=5)
    chart: alt.Chart = (
        alt.Chart(rows_data(rows))
        .mark_line(clip=True, strokeWidth=2, interpolate="linear", opacity=0.8)
        .encode(
            x=alt.X("fpr:Q", scale=alt.Scale(domain=[0, zoom]), title="false positive rate", axis=form),
            y=alt.Y("tpr:Q", scale=alt.Scale(domain=[1 - zoom, 1]), title="true positive rate", axis=form),
            color=color,
            detail=f"{name}:N",
            tooltip=[f"{name}:N", alt.Tooltip("fpr:Q", format=".2%"), alt.Tooltip("tpr:Q", format=".2%")],
        )
    )
    return chart


def thinned(points: Sequence[Row]) -> list[Row]:
    """Return at most `MOST_POINTS` points, first and last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[round(index * last / (MOST_POINTS - 1))] for index in range(MOST_POINTS)]


def zoom_of(curves: Sequence[Sequence[Row]]) -> float:
    """Return the smallest zoom in whose width every curve comes close to 1; a zoom of 1 shows all."""
    for zoom in ZOOMS:
        inside = [[point["tpr"] for point in curve if point["fpr"] <= zoom] for curve in curves]
        if all(rates and max(rates) >= HIGH for rates in inside):
            return zoom
    return 1.0


def _confusion(name: str, pairs: Sequence[Row]) -> Panel:
    labels = sorted({row[key] for row in pairs for key in ("actual", "predicted")}, key=_label_order)
    cells = Counter((row["actual"], row["predicted"]) for row in pairs)
    totals = Counter(row["actual"] for row in pairs)
    rows = [
        {
            "actual": _label(actual),
            "predicted": _label(taken),
            "count": number,
            "share": number / totals[actual],
        }
        for (actual, taken), number in cells.items()
    ]
    names = [_label(label) for label in labels]
    axis = (
        alt.Axis(labelAngle=0, labelLimit=60)
        if len(names) <= MOST_CLASSES
        else alt.Axis(labels=False, ticks=False)
    )
    base = alt.Chart(rows_data(rows)).encode(
        x=alt.X("predicted:N", sort=names, scale=alt.Scale(domain=names), axis=axis),
        y=alt.Y("actual:N", sort=names, scale=alt.Scale(domain=names), axis=axis),
        tooltip=["actual:N", "predicted:N", "count:Q", alt.Tooltip("share:Q", format=".1%")],
    )
    shade = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.1, 0.4]))
    layers = [base.mark_rect(color=ACCENT).encode(opacity=shade)]
    if len(names) <= MOST_CLASSES:
        layers.append(base.mark_text(fontSize=11, color=INK).encode(text="count:Q"))
    return panel(name, alt.layer(*layers), 260)


def _confusion_words(confusion: dict[str, list[Row]]) -> str:
    wrong = {
        name: sum(row["actual"] != row["predicted"] for row in pairs) for name, pairs in confusion.items()
    }
    return " ".join(
        f"{name}: {wrong[name]} of {len(pairs)} images wrong." for name, pairs in confusion.items()
    )


def _label(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _label_order(value: float | str) -> tuple[float, str]:
    return (value, "") if isinstance(value, float) else (0.0, value)
