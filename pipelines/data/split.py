"""Seeded, stratified choice of images: subsets and splits that keep the share of each class."""

import numpy as np
import numpy.typing as npt

from pipelines.data.raw import Labels
from pipelines.errors import UserError

Indices = npt.NDArray[np.int64]


def stratified_pick(
    labels: Labels, num_picked: int, generator: np.random.Generator, key: str, min_rest: int = 1
) -> tuple[Indices, Indices]:
    """Draw `num_picked` images, each class in proportion; return the indices picked and the rest, ascending.

    Each class gives at least one image and keeps at least `min_rest`; where that cannot be, UserError names
    the parameter `key`. Draws from `generator`.
    """
    classes, counts = np.unique(labels, return_counts=True)
    most = int((counts - min_rest).sum())
    if not len(classes) <= num_picked <= most:
        raise UserError(
            f"{key}: {num_picked} of {len(labels)} images in {len(classes)} classes is not possible with "
            f"every class on both sides; allowed: {len(classes)} to {most} images"
        )
    picked = []
    for label, quota in zip(classes, _apportion(counts, num_picked, counts - min_rest), strict=True):
        members = np.flatnonzero(labels == label)
        picked.append(generator.permutation(members)[:quota])
    mask = np.zeros(len(labels), dtype=bool)
    mask[np.concatenate(picked)] = True
    return np.flatnonzero(mask), np.flatnonzero(~mask)


def _apportion(counts: Indices, total: int, most: Indices) -> Indices:
    """Share `total` among classes in proportion to `counts` by largest remainders, each 1 to `most`.

    The caller has made sure that such a share exists.
    """
    exact = counts * (total / counts.sum())
    shares: Indices = np.clip(np.floor(exact).astype(np.int64), 1, most)
    while shares.sum() != total:
        step = 1 if shares.sum() < total else -1
        possible = (shares + step >= 1) & (shares + step <= most)
        # The class that is furthest from its exact share gives or takes next.
        chosen = int(np.argmax(np.where(possible, step * (exact - shares), -np.inf)))
        shares[chosen] += step
    return shares


def limit(labels: Labels, num_kept: int | None, generator: np.random.Generator, key: str) -> Indices:
    """Return the indices of a stratified subset of `num_kept` images; None or more than there are: all."""
    if num_kept is None or num_kept >= len(labels):
        return np.arange(len(labels))
    return stratified_pick(labels, num_kept, generator, key, min_rest=0)[0]


def check_classes(labels: Labels, class_names: tuple[str, ...], minimum: int, where: str) -> None:
    """Raise UserError where a class has fewer than `minimum` images in `labels`; `where` names the part."""
    counts = np.bincount(labels, minlength=len(class_names))
    smallest = int(counts.argmin())
    if counts[smallest] < minimum:
        raise UserError(
            f"{where}: class {class_names[smallest]!r} has {counts[smallest]} images, too few to split; "
            f"needed: at least {minimum} of each class"
        )
