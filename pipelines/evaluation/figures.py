"""Figures of the recognition results."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pipelines.evaluation.evaluate import Evaluated
from pipelines.evaluation.roc import MACRO, MICRO, Curve
from pipelines.evaluation.scores import Floats, Labels, confusion_matrix
from pipelines.figures import GREY, color_of, figure, line_style_of, plain, scale_costs
from pipelines.results import Row

# Sides that the enlarged corner may have, as shares of the whole panel.
_ZOOMS = (0.02, 0.05, 0.1, 0.2, 0.5)
# More classes than this are drawn without a legend entry or a number each.
_MAX_NAMED = 10
_MAX_NUMBERED = 20


def draw_all(evaluated: Sequence[Evaluated], class_names: tuple[str, ...], folder: Path) -> list[Path]:
    """Draw every figure of the evaluation into `folder`; return their paths.

    curves.png, roc.png, accuracy_parameters.png, accuracy_seconds.png and for each run roc-NAME.png and
    confusion-NAME.png.
    """
    rows = [one.row for one in evaluated]
    drawings: dict[str, Callable[[Path], None]] = {
        "curves.png": lambda path: draw_training_curves(evaluated, path),
        "roc.png": lambda path: draw_roc_overlay(evaluated, path),
        "accuracy_parameters.png": lambda path: draw_cost(rows, "num_parameters", "parameters", path),
        "accuracy_seconds.png": lambda path: draw_cost(
            rows, "train_seconds", "training time in seconds", path
        ),
    }
    paths = [folder / name for name in drawings]
    for path in paths:
        drawings[path.name](path)
    for one in evaluated:
        roc, confusion = folder / f"roc-{one.run.name}.png", folder / f"confusion-{one.run.name}.png"
        draw_roc(one.run.name, one.curves, roc)
        draw_confusion(one.run.name, confusion_matrix(one.scores), class_names, confusion)
        paths += [roc, confusion]
    return paths


def draw_roc(name: str, curves: Sequence[Curve], path: Path) -> None:
    """Draw the ROC of each class with the micro and macro average, whole and enlarged; writes `path`."""
    classes = [curve for curve in curves if curve.name not in (MICRO, MACRO)]
    averages = [curve for curve in curves if curve.name in (MICRO, MACRO)]
    named = len(classes) <= _MAX_NAMED

    def draw(axes: Axes) -> None:
        for index, curve in enumerate(classes):
            label = f"{plain(curve.name)} ({curve.auc:.4f})" if named else None
            color = f"C{index}" if named else "#c8c8c8"
            axes.plot(curve.fpr, curve.tpr, linewidth=1.1, label=label, color=color)
        for curve, dashes in zip(averages, ((4, 1.5), (1, 1)), strict=True):
            label = f"{curve.name} ({curve.auc:.4f})"
            axes.plot(curve.fpr, curve.tpr, color="black", linewidth=1.8, dashes=dashes, label=label)

    _draw_roc_panels(draw, averages, f"ROC of {name}: one class against the rest", path)


def draw_roc_overlay(evaluated: Sequence[Evaluated], path: Path) -> None:
    """Draw the macro-average ROC of all runs, whole and enlarged; writes `path`."""
    macros = [next(curve for curve in one.curves if curve.name == MACRO) for one in evaluated]

    def draw(axes: Axes) -> None:
        for index, (one, curve) in enumerate(zip(evaluated, macros, strict=True)):
            label = f"{one.run.name} ({curve.auc:.4f})"
            style = line_style_of(index)
            axes.plot(curve.fpr, curve.tpr, color=color_of(index), linestyle=style, label=label)

    _draw_roc_panels(draw, macros, "ROC of all models: macro average over the classes", path)


def _draw_roc_panels(draw: Callable[[Axes], None], curves: Sequence[Curve], title: str, path: Path) -> None:
    """Let `draw` fill a whole ROC panel and an enlarged corner that shows the bend of `curves`; writes `path`."""
    zoom = corner_side(curves)
    with figure(path, 8.4, 3.7) as drawing:
        panels = drawing.subplots(1, 2)
        for axes in panels:
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
            draw(axes)
            axes.set(xlabel="false positive rate", ylabel="true positive rate")
        panels[0].set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        panels[1].set(xlim=(-zoom / 100, zoom), ylim=(1 - zoom, 1 + zoom / 100), aspect="equal")
        panels[1].set_title("upper left corner", fontweight="normal", fontsize=9)
        drawing.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside right center", title="area under the curve")


def corner_side(curves: Sequence[Curve]) -> float:
    """Return the side of the upper left corner that holds the equal error rates of all `curves` in its middle."""
    rates = [curve.fpr[np.argmax(curve.tpr >= 1 - curve.fpr)] for curve in curves]
    return next((side for side in _ZOOMS if side >= 2.5 * max(rates)), _ZOOMS[-1])


def draw_confusion(name: str, matrix: Labels, class_names: tuple[str, ...], path: Path) -> None:
    """Draw the confusion matrix, coloured by the share of the true class, with counts; writes `path`."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    num_classes = len(class_names)
    shown = [plain(name) for name in class_names]
    numbered = num_classes <= _MAX_NUMBERED
    side = 1.6 + 0.42 * num_classes if numbered else 7.0
    with figure(path, side + 0.6, side) as drawing:
        axes = drawing.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        ticks = range(num_classes) if numbered else []
        axes.set_xticks(ticks, shown if numbered else [], rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, shown if numbered else [])
        axes.tick_params(length=0)
        axes.set(xlabel="predicted class", ylabel="true class")
        accuracy = np.trace(matrix) / matrix.sum()
        axes.set_title(f"{name}: {accuracy:.2%} of {matrix.sum():,} test images right")
        if numbered:
            _write_counts(axes, matrix, shares)
        bar = drawing.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
        bar.outline.set_visible(False)


def _write_counts(axes: Axes, matrix: Labels, shares: Floats) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.55 else "#303030"
            axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=color)


def draw_training_curves(evaluated: Sequence[Evaluated], path: Path) -> None:
    """Draw loss and accuracy by epoch, on the training and the validation part; writes `path`.

    Dotted vertical lines mark where the learning rate drops.
    """
    panels = (
        ("train_loss", "training loss", True),
        ("validation_loss", "validation loss", True),
        ("train_accuracy", "training accuracy", False),
        ("validation_accuracy", "validation accuracy", False),
    )
    drops = learning_rate_drops(evaluated)
    with figure(path, 8.2, 5.6) as drawing:
        grid = drawing.subplots(2, 2, sharex=True).ravel()
        for axes, (key, title, logarithmic) in zip(grid, panels, strict=True):
            for index, one in enumerate(evaluated):
                epochs = [int(row["epoch"]) for row in one.run.history]
                values = [float(row[key]) for row in one.run.history]
                axes.plot(
                    epochs, values, color=color_of(index), linestyle=line_style_of(index), label=one.run.name
                )
            for epoch in drops:
                axes.axvline(epoch, color=GREY, linewidth=0.9, linestyle=":")
            axes.set_title(title)
            if logarithmic:
                axes.set_yscale("log")
        grid[0].xaxis.get_major_locator().set_params(integer=True)
        for axes in grid[2:]:
            axes.set_xlabel("epoch (dotted: the learning rate drops)" if drops else "epoch")
        handles, labels = grid[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))


def learning_rate_drops(evaluated: Sequence[Evaluated]) -> list[float]:
    """Return after how many epochs the stepwise schedules of the runs lower the rate; none for a smooth one."""
    drops = set()
    for one in evaluated:
        recipe = one.run.checkpoint.recipe
        if recipe["schedule"] == "step":
            drops |= {milestone * recipe["epochs"] for milestone in recipe["milestones"]}
    return sorted(drops)


def draw_cost(rows: Sequence[Row], key: str, label: str, path: Path) -> None:
    """Draw test accuracy, with its confidence interval, against the cost `key` of each row; writes `path`."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    with figure(path, 5.2, 3.6) as drawing:
        axes = drawing.add_subplot()
        for index, model in enumerate(models):
            mine = [row for row in rows if row["model"] == model]
            accuracy = np.array([row["test_accuracy"] for row in mine])
            errors = np.array(
                [
                    [row["test_accuracy"] - row["test_accuracy_low"] for row in mine],
                    [row["test_accuracy_high"] - row["test_accuracy"] for row in mine],
                ]
            )
            axes.errorbar(
                [row[key] for row in mine],
                accuracy * 100,
                yerr=np.maximum(errors, 0) * 100,
                fmt="o",
                color=color_of(index),
                capsize=2.5,
                elinewidth=1,
                label=model,
            )
        scale_costs(axes, [row[key] for row in rows])
        axes.set(xlabel=label, ylabel="test accuracy in %")
        axes.set_title("Test accuracy with confidence interval")
        drawing.legend(loc="outside right upper")
