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


def tree_value(code: int) -> float:
    """Dettmers 2016, dynamic tree: seven bits are zeros, a one, and a binary fraction of 0.1 to 1; 0 is zero."""
    if code == 0:
        return 0.0
    bits = f"{code:07b}"
    zeros = bits.index("1")
    fraction = bits[zeros + 1 :]
    place = int(fraction or "0", 2)
    return float(10.0**-zeros * (0.1 + 0.9 * (place + 0.5) / 2 ** len(fraction)))


def nearest_in_tree(values: Vector, sizes: list[int]) -> Vector:
    """Each value as the nearest magnitude of the tree in units of its tensor's largest one."""
    table = [tree_value(code) for code in range(128)]
    found = []
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        largest = np.abs(part).max()
        for value in part:
            share = abs(value) / largest
            found.append(math.copysign(min(table, key=lambda each: abs(each - share)), value) * largest)
    return np.array(found)


def means_of_the_outer(values: Vector, sizes: list[int], density: float) -> Vector:
    """Dryden 2016: the k outermost values of a tensor, shared between both sides as all are, as the mean of a side."""
    found = []
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        count = math.ceil(density * len(part))
        above = round(count * sum(value > 0 for value in part) / len(part))
        order = sorted(range(len(part)), key=lambda i: part[i])
        sent = np.zeros_like(part)
        for chosen in (order[len(part) - above :], order[: count - above]):
            for index in chosen:
                sent[index] = sum(part[i] for i in chosen) / len(chosen)
        found.append(sent)
    return np.concatenate(found)


def bucket_means(values: Vector, sizes: list[int], num_buckets: int) -> Vector:
    """Jiang 2018: the mean of the values between two neighbouring quantiles of the tensor."""
    found = []
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        ordered = sorted(part)
        bounds = [ordered[place * len(part) // num_buckets] for place in range(1, num_buckets)]
        numbers = [sum(bound <= value for bound in bounds) for value in part]
        found += [np.mean([v for v, n in zip(part, numbers, strict=True) if n == own]) for own in numbers]
    return np.array(found)


def cut_off(values: Vector, bound_bits: int) -> Vector:
    """Li 2018: nothing below the bound, all from 1 on, else the fewer of 7 and 15 bits that keep within the bound."""
    found = []
    for value in values:
        size = abs(value)
        short, long = (math.floor(size * 2**bits) / 2**bits for bits in (7, 15))
        kept = short if size - short <= 2.0**-bound_bits else long
        kept = size if size >= 1 else 0.0 if size < 2.0**-bound_bits else kept
        found.append(math.copysign(kept, value))
    return np.array(found)


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
