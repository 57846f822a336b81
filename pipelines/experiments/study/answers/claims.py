"""The study's claims, answered from its rows: holds, does not hold, or not decided.

Every claim is a list of tests, each of a difference that the claim says is above 0. A test over at least two paired
values holds when the two-sided 95 % t interval of their mean lies above 0, does not hold when it lies at or below
0, and else is not decided; values that are all equal have no interval and decide nothing. A comparison of models
with one seed is decided by McNemar's exact test on the same test images at level 0.05, corrected for the tests of
the claim (Holm). A claim holds when all its tests hold and does not hold when one does not.

The claim on the learning rate has one value a model: a model's runs at several initial rates start from the same
weights and see the same batches, so they do not count as independent. Those of different models still share their
seed and their validation images.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.evaluation.comparison import compare_pairs, holm
from pipelines.evaluation.scores import Scores
from pipelines.intervals import mean_interval
from pipelines.results import Row

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "not decided", "not run"
SIGNIFICANCE = 0.05

DEPTHS = ("densenet50", "densenet100", "densenet200")
CONTENDER = "densenet100"
BASELINES = ("vgg16_bn", "vgg19_bn", "efficientnet_b0")
ORIENTATION = ("resnet18",)
"""Compared with `CONTENDER` too, but no part of the claim."""

ScoresBySeed = Mapping[str, Mapping[int, Scores]]


@dataclass(frozen=True)
class Claim:
    """One claim on one data set."""

    key: str
    statement: str
    answer: str
    tests: list[Row] = field(default_factory=list)
    """Flat rows: test, counted, rule, num_pairs, difference, difference_low, difference_high, p_value, answer."""
    reason: str | None = None
    """Why the claim was not run."""


def answer_claims(
    comparison: Sequence[Row], curves: Sequence[Row], corruption: Sequence[Row], scores: ScoresBySeed
) -> list[Claim]:
    """Answer the four claims from the rows of one data set.

    Args:
        comparison: a row a model and seed; test_accuracy None where the run diverged.
        curves: a row an epoch of each run, any number of models and rates.
        corruption: a row a model, seed, corruption and severity; those of diverged runs are missing.
        scores: of the test part by model and seed; needed where models have one seed in common.
    """
    accuracy = accuracies(comparison)
    deeper = [(deep, shallow) for shallow, deep in itertools.pairwise(DEPTHS)]
    baselines = [(CONTENDER, name) for name in BASELINES]
    orientation = [(CONTENDER, name) for name in ORIENTATION if name in accuracy]
    return [
        _models_claim("deeper", "Deeper is better", deeper, [], accuracy, scores),
        _refinement_claim(curves),
        _models_claim(
            "baselines",
            "DenseNet-100 beats VGG and EfficientNet",
            baselines,
            orientation if CONTENDER in accuracy else [],
            accuracy,
            scores,
        ),
        _robust_claim(baselines, orientation, corruption),
    ]


def decide(low: float, high: float) -> str:
    """Return the answer that the interval of a difference gives."""
    if low > 0:
        return HOLDS
    return FAILS if high <= 0 else UNDECIDED


def overall(answers: Sequence[str]) -> str:
    """Return the answer to a claim from those of its tests, which are at least one."""
    if FAILS in answers:
        return FAILS
    return HOLDS if all(answer == HOLDS for answer in answers) else UNDECIDED


def interval_test(name: str, differences: Sequence[float]) -> Row:
    """Test whether the mean of paired differences is above 0; fewer than two, or equal ones, decide nothing."""
    values = np.asarray(differences, dtype=np.float64)
    row: Row = {"test": name, "counted": True, "rule": "t interval", "num_pairs": len(values)}
    mean = float(values.mean()) if len(values) else None
    low, high = mean_interval(differences) or (None, None)
    answer = UNDECIDED if low is None or high is None else decide(low, high)
    bounds = {"difference": mean, "difference_low": low, "difference_high": high}
    return row | bounds | {"p_value": None, "answer": answer}


def accuracies(comparison: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Return the test accuracy by model and seed, without diverged runs but with their models."""
    found: dict[str, dict[int, float]] = {row["model"]: {} for row in comparison}
    for row in comparison:
        if row["test_accuracy"] is not None:
            found[row["model"]][row["seed"]] = row["test_accuracy"]
    return found


def robust_accuracies(corruption: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Return the mean accuracy over all corruptions and severities, by model and seed."""
    values: dict[str, dict[int, list[float]]] = {}
    for row in corruption:
        values.setdefault(row["model"], {}).setdefault(row["seed"], []).append(row["test_accuracy"])
    return {model: {seed: _mean(mine) for seed, mine in seeds.items()} for model, seeds in values.items()}


def _robust_claim(
    pairs: Sequence[tuple[str, str]], orientation: Sequence[tuple[str, str]], corruption: Sequence[Row]
) -> Claim:
    """Answer that DenseNet-100 stays more accurate than the baselines where test images are shifted."""
    key, statement = "robust", "DenseNet-100 is more robust than VGG and EfficientNet"
    if not corruption:
        return Claim(key, statement, NOT_RUN, reason="no model was tested on shifted images")
    accuracy = robust_accuracies(corruption)
    shown = [pair for pair in orientation if all(model in accuracy for model in pair)]
    return _models_claim(key, statement, pairs, shown, accuracy, None)


def _models_claim(
    key: str,
    statement: str,
    pairs: Sequence[tuple[str, str]],
    orientation: Sequence[tuple[str, str]],
    accuracy: Mapping[str, Mapping[int, float]],
    scores: ScoresBySeed | None,
) -> Claim:
    """Answer that the first model of each pair is more accurate than the second; `scores` None: by seeds alone."""
    untrained = dict.fromkeys(model for pair in pairs for model in pair if model not in accuracy)
    if not any(first in accuracy and second in accuracy for first, second in pairs):
        return Claim(key, statement, NOT_RUN, reason=f"not trained: {', '.join(untrained)}")
    tests = []
    for pair in [*pairs, *orientation]:
        if all(model in accuracy for model in pair):
            tests.append(_pair_test(*pair, accuracy, scores) | {"counted": pair not in orientation})
    _correct([test for test in tests if test["rule"] == "McNemar" and test["counted"]])
    answers = [test["answer"] for test in tests if test["counted"]]
    if untrained:
        # Without all its models a claim can be refuted, not confirmed.
        answers.append(UNDECIDED)
    reason = f"not trained: {', '.join(untrained)}" if untrained else None
    return Claim(key, statement, overall(answers), tests, reason)


def _pair_test(
    first: str, second: str, accuracy: Mapping[str, Mapping[int, float]], scores: ScoresBySeed | None
) -> Row:
    seeds = [seed for seed in accuracy[first] if seed in accuracy[second]]
    name = f"{first} over {second}"
    if len(seeds) != 1 or scores is None:
        return interval_test(name, [accuracy[first][seed] - accuracy[second][seed] for seed in seeds])
    seed = seeds[0]
    pair = compare_pairs({first: scores[first][seed], second: scores[second][seed]})[0]
    row: Row = {"test": name, "counted": True, "rule": "McNemar", "num_pairs": 1}
    row |= {"difference": pair["accuracy_difference"], "difference_low": None, "difference_high": None}
    return row | {"p_value": pair["p_value"], "answer": _mcnemar_answer(row, pair["p_value"])}


def _mcnemar_answer(row: Row, p_value: float) -> str:
    if p_value >= SIGNIFICANCE:
        return UNDECIDED
    return HOLDS if row["difference"] > 0 else FAILS


def _correct(tests: Sequence[Row]) -> None:
    """Replace the p-values of a claim's McNemar tests by Holm's, and the answers accordingly; mutates the rows."""
    for test, corrected in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        test["p_value"] = corrected
        test["answer"] = _mcnemar_answer(test, corrected)


def rate_drops(curves: Sequence[Row]) -> list[Row]:
    """Return a row a drop of the rate: the validation scores of the epochs around it.

    accuracy_change and loss_change: from the epoch before the drop to the one that it begins; accuracy_trend: the
    change of accuracy in the epoch before, None where there is none. A run that diverged there has no row.
    """
    scored = [row for row in curves if None not in (row["validation_accuracy"], row["validation_loss"])]
    at = {(row["model"], row["learning_rate"], row["seed"], row["epoch"]): row for row in scored}
    drops: list[Row] = []
    for row in scored:
        *run, epoch = row["model"], row["learning_rate"], row["seed"], row["epoch"]
        before, earlier = at.get((*run, epoch - 1)), at.get((*run, epoch - 2))
        if not row["dropped"] or before is None:
            continue
        accuracy = before["validation_accuracy"]
        drops.append(
            {
                **{key: row[key] for key in ("data", "model", "learning_rate", "seed", "epoch")},
                "accuracy_before": accuracy,
                "accuracy_after": row["validation_accuracy"],
                "accuracy_change": row["validation_accuracy"] - accuracy,
                "accuracy_trend": None if earlier is None else accuracy - earlier["validation_accuracy"],
                "loss_before": before["validation_loss"],
                "loss_after": row["validation_loss"],
                "loss_change": row["validation_loss"] - before["validation_loss"],
            }
        )
    return drops


def _refinement_claim(curves: Sequence[Row]) -> Claim:
    """Answer that validation accuracy rises and loss falls where the rate drops.

    One value a model, the mean over its rates and drops. Accuracy rises in most epochs anyway, hence the third test:
    by more than in the epoch before the drop.
    """
    key, statement = "refines", "A lower learning rate late in training refines"
    models: dict[str, list[Row]] = {}
    for drop in rate_drops(curves):
        models.setdefault(drop["model"], []).append(drop)
    if not models:
        return Claim(key, statement, NOT_RUN, reason="no curves in which the rate drops")
    changes = [_mean([drop["accuracy_change"] for drop in mine]) for mine in models.values()]
    losses = [-_mean([drop["loss_change"] for drop in mine]) for mine in models.values()]
    excesses = [
        _mean([drop["accuracy_change"] - drop["accuracy_trend"] for drop in known])
        for mine in models.values()
        if (known := [drop for drop in mine if drop["accuracy_trend"] is not None])
    ]
    tests = [
        interval_test("validation accuracy rises at the drop", changes),
        interval_test("validation loss falls at the drop", losses) | {"unit": "nats"},
        interval_test("accuracy rises more than in the epoch before", excesses),
    ]
    return Claim(key, statement, overall([test["answer"] for test in tests]), tests)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
