"""Slow, plain numpy forms of the peers' formulas, one value at a time where that is clearest."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def top_k(values: Vector, count: int) -> Vector:
    """Keep the `count` largest magnitudes, zero elsewhere."""
    kept = np.zeros_like(values)
    for index in sorted(range(len(values)), key=lambda i: -abs(values[i]))[:count]:
        kept[index] = values[index]
    return kept


def topk_steps(gradients: list[list[Vector]], density: float) -> list[Vector]:
    """Stich 2018, algorithm 1: the averages of the steps; `gradients[step][rank]`."""
    memories = [np.zeros_like(g) for g in gradients[0]]
    averages = []
    for step in gradients:
        sent = []
        for rank, gradient in enumerate(step):
            total = memories[rank] + gradient
            sent.append(top_k(total, math.ceil(density * len(total))))
            memories[rank] = total - sent[-1]
        averages.append(np.mean(sent, axis=0))
    return averages


def signsgd_steps(gradients: list[list[Vector]], sizes: list[int]) -> list[Vector]:
    """Signs of gradient plus error, majority of the ranks, mean of the ranks' mean magnitudes, per tensor."""
    errors = [np.zeros_like(g) for g in gradients[0]]
    averages = []
    for step in gradients:
        votes: list[Vector] = []
        scales: list[list[float]] = []
        for rank, gradient in enumerate(step):
            total = errors[rank] + gradient
            signs = np.where(total < 0, -1.0, 1.0)
            scales.append([])
            start = 0
            for size in sizes:
                part = slice(start, start + size)
                scales[-1].append(sum(abs(value) for value in total[part]) / size)
                errors[rank][part] = total[part] - scales[-1][-1] * signs[part]
                start += size
            votes.append(signs)
        majority = np.sign(np.sum(votes, axis=0))
        averages.append(majority * np.repeat(np.mean(scales, axis=0), sizes))
    return averages


def feedback_steps(gradients: list[list[Vector]], compress: Callable[[Vector, int], Vector]) -> list[Vector]:
    """Karimireddy 2019, algorithm 2, averaged over the ranks: p = g + e; send C(p, step); e = p - C(p, step)."""
    errors = [np.zeros_like(g) for g in gradients[0]]
    averages = []
    for number, step in enumerate(gradients):
        totals = [error + gradient for error, gradient in zip(errors, step, strict=True)]
        sent = [compress(total, number) for total in totals]
        errors = [total - message for total, message in zip(totals, sent, strict=True)]
        averages.append(np.mean(sent, axis=0))
    return averages


def scaled_signs(values: Vector, sizes: list[int]) -> Vector:
    """The sign of each value times the mean magnitude of its tensor."""
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return np.concatenate([np.where(part < 0, -1.0, 1.0) * np.abs(part).mean() for part in parts])


def two_means(values: Vector, sizes: list[int]) -> Vector:
    """Seide 2014: each value becomes the mean of those of its tensor that are negative as it is, or not."""
    sent = values.copy()
    for part in np.split(sent, np.cumsum(sizes)[:-1]):
        negative = part < 0
        for kind in (negative, ~negative):
            part[kind] = part[kind].mean() if kind.any() else 0.0
    return sent


def signum_steps(
    gradients: list[list[Vector]], *, momentum: float, nesterov: bool, magnitude: float
) -> list[Vector]:
    """Bernstein 2018, algorithms 2 and 3: the majority of the signs of the ranks' momenta."""
    velocities = [np.zeros_like(g) for g in gradients[0]]
    updates = []
    for step in gradients:
        votes = np.zeros_like(step[0])
        for rank, gradient in enumerate(step):
            velocities[rank] = momentum * velocities[rank] + gradient
            moved = gradient + momentum * velocities[rank] if nesterov else velocities[rank]
            votes += np.where(moved < 0, -1.0, 1.0)
        updates.append(magnitude * np.sign(votes))
    return updates


def dgc_steps(
    gradients: list[list[Vector]],
    sizes: list[int],
    *,
    densities: list[float],
    momentum: float,
    nesterov: bool,
    clip_norm: float | None,
) -> list[Vector]:
    """Lin 2018, algorithm 1 with momentum correction, local clipping and factor masking; exact thresholds."""
    workers = len(gradients[0])
    velocities = [np.zeros_like(g) for g in gradients[0]]
    accumulated = [np.zeros_like(g) for g in gradients[0]]
    averages = []
    for step, density in zip(gradients, densities, strict=True):
        sent = []
        for rank, original in enumerate(step):
            gradient = original.copy()
            if clip_norm is not None:
                norm = math.sqrt(sum(value**2 for value in gradient))
                gradient *= min(1.0, clip_norm / math.sqrt(workers) / norm)
            velocities[rank] = momentum * velocities[rank] + gradient
            accumulated[rank] += gradient + momentum * velocities[rank] if nesterov else velocities[rank]
            message = np.zeros_like(gradient)
            start = 0
            for size in sizes:
                part = slice(start, start + size)
                message[part] = top_k(accumulated[rank][part], math.ceil(density * size))
                start += size
            accumulated[rank][message != 0] = 0.0
            velocities[rank][message != 0] = 0.0
            sent.append(message)
        averages.append(np.mean(sent, axis=0))
    return averages


def powersgd_steps(
    gradients: list[list[list[NDArray[np.float64]]]], queries: list[NDArray[np.float64]]
) -> list[list[NDArray[np.float64]]]:
    """Vogels 2019, algorithms 1 and 2; `gradients[step][rank][matrix]`, `queries[matrix]` is the first Q.

    The orthonormal basis is that of a QR factorization: P Q^T does not depend on which basis is taken.
    """
    errors = [[np.zeros_like(m) for m in rank] for rank in gradients[0]]
    averages: list[list[Any]] = []
    for step in gradients:
        averages.append([])
        for number, query in enumerate(queries):
            totals = [rank[number] + error[number] for rank, error in zip(step, errors, strict=True)]
            basis = np.linalg.qr(np.mean([total @ query for total in totals], axis=0))[0]
            query = np.mean([total.T @ basis for total in totals], axis=0)
            queries[number] = query
            approximation = basis @ query.T
            for error, total in zip(errors, totals, strict=True):
                error[number] = total - approximation
            averages[-1].append(approximation)
    return averages
