"""Harder variations of grey data sets, and convex shapes: what the searches of the literature are judged on.

After the variations of MNIST and the convex set of Larochelle et al. 2007 ("An empirical evaluation of deep
architectures on problems with many factors of variation"), made by a rule of ours. `digits_rotated`,
`fashion_mnist_random_background` and so on are the images of the data set in front, digits enlarged to 16 x 16 pixels,
and then:

- rotated: turned by an angle that is uniform over the circle, bilinear, black where nothing was;
- random_background: on a background whose pixels are uniform over 0 to 255, each on its own;
- image_background: on a patch of one of the two photographs that come with scikit-learn, grey, at a random place.
  Patches with little contrast are drawn again;
- rotated_image_background: turned, and then on a patch.

The brightness of an image is its opacity: image + (1 - image / 255) background. `convex` has white shapes on black,
28 x 28 pixels, 4,000 to train and 2,000 to test, half of them convex: an intersection of half-planes; the others are
the union of two of those that is not convex. All draws have seeds of their own, so each is one data set whatever the
parameters are.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, Images, RawData
from pipelines.data.sources.digits import load_digits
from pipelines.data.sources.fashion_mnist import load_fashion_mnist

DIGITS_PIXELS = 16
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
LEAST_DEVIATION = 16.0
"""Of a patch's grey values: below it there is nothing to be seen in it."""
NUM_TRIES = 20
IMAGES_AT_ONCE = 4096

CONVEX_PIXELS = 28
NUM_CONVEX = (4000, 2000)
HALF_PLANES = (2, 7)
"""Least and largest number of those that make a convex shape."""
LEAST_AREA, MOST_AREA = 0.05, 0.75
"""Of a shape, in parts of the image."""
LEAST_GAP = 0.1
"""Part of its convex hull that a shape which is not convex leaves black, at least."""

Change = Callable[[Images, np.random.Generator], Images]


def rotated(images: Images, generator: np.random.Generator) -> Images:
    """Return grey images uint8 [n, 1, side, side], each turned by an angle of its own."""
    angles = torch.from_numpy(generator.uniform(0, 2 * np.pi, len(images))).float()
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros(len(images))
    maps = torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(-1, 2, 3)
    turned = []
    parts = torch.split(torch.from_numpy(images), IMAGES_AT_ONCE)
    for part, chunk in zip(parts, torch.split(maps, IMAGES_AT_ONCE), strict=True):
        grid = functional.affine_grid(chunk, list(part.shape), align_corners=False)
        turned.append(functional.grid_sample(part.float(), grid, align_corners=False))
    return torch.cat(turned).round().clamp(0, 255).to(torch.uint8).numpy()


def on_noise(images: Images, generator: np.random.Generator) -> Images:
    """Return grey images on backgrounds of random pixels."""
    return _over(images, generator.integers(0, 256, images.shape, dtype=np.uint8))


def on_photographs(images: Images, generator: np.random.Generator) -> Images:
    """Return grey images on patches of photographs."""
    photographs = _photographs()
    side = images.shape[-1]
    patches = [_patch(photographs, side, generator) for _ in range(len(images))]
    return _over(images, np.stack(patches)[:, None])


def turned_on_photographs(images: Images, generator: np.random.Generator) -> Images:
    """Return grey images, turned, on patches of photographs."""
    return on_photographs(rotated(images, generator), generator)


VARIATIONS: dict[str, Change] = {
    "rotated": rotated,
    "random_background": on_noise,
    "image_background": on_photographs,
    "rotated_image_background": turned_on_photographs,
}


def _over(images: Images, background: Images) -> Images:
    """Return the images over the background, both uint8, each as opaque as it is bright."""
    front = images.astype(np.float32)
    blended = front + (1 - front / 255) * background.astype(np.float32)
    return np.rint(blended).astype(np.uint8)


def _photographs() -> list[npt.NDArray[np.uint8]]:
    from sklearn.datasets import load_sample_image

    return [np.asarray(Image.fromarray(load_sample_image(name)).convert("L")) for name in PHOTOGRAPHS]


def _patch(
    photographs: list[npt.NDArray[np.uint8]], side: int, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    for _ in range(NUM_TRIES):
        photograph = photographs[generator.integers(len(photographs))]
        top, left = (int(generator.integers(length - side + 1)) for length in photograph.shape)
        patch = photograph[top : top + side, left : left + side]
        if patch.std() >= LEAST_DEVIATION:
            break
    return patch


def _load_varied(config: PrepareConfig, *, base: str, variation: str) -> RawData:
    """Return the data set `base` with all its images changed."""
    raw = load_digits(config) if base == "digits" else load_fashion_mnist(config)
    change = VARIATIONS[variation]
    # Training and test part draw independently of each other.
    parts = [
        None
        if images is None
        else change(_enlarged(images), np.random.default_rng((part, *variation.encode())))
        for part, images in enumerate((raw.train_images, raw.test_images))
    ]
    assert parts[0] is not None
    return RawData(
        class_names=raw.class_names,
        train_images=parts[0],
        train_labels=raw.train_labels,
        test_images=parts[1],
        test_labels=raw.test_labels,
        source=raw.source,
    )


def _enlarged(images: Images) -> Images:
    """Return images of at least `DIGITS_PIXELS`, bilinear: a turned image of eight pixels is hardly one."""
    if images.shape[-1] >= DIGITS_PIXELS:
        return images
    size = (DIGITS_PIXELS, DIGITS_PIXELS)
    larger = functional.interpolate(
        torch.from_numpy(images).float(), size, mode="bilinear", align_corners=False
    )
    return larger.round().to(torch.uint8).numpy()


for _base in ("digits", "fashion_mnist"):
    for _variation in VARIATIONS:
        SOURCES.register(f"{_base}_{_variation}")(partial(_load_varied, base=_base, variation=_variation))


@SOURCES.register("convex")
def load_convex(config: PrepareConfig) -> RawData:  # noqa: ARG001 - every source takes the parameters
    """Return the shapes; class 1 is convex."""
    parts = []
    for part, number in enumerate(NUM_CONVEX):
        generator = np.random.default_rng((part, *b"convex"))
        labels = np.arange(number, dtype=np.int64) % 2
        shapes = np.stack([draw_shape(generator, convex=bool(label)) for label in labels])
        parts.append((shapes[:, None].astype(np.uint8) * 255, labels))
    (train_images, train_labels), (test_images, test_labels) = parts
    return RawData(
        class_names=("not convex", "convex"),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source="embedded",
    )


def draw_shape(generator: np.random.Generator, *, convex: bool) -> npt.NDArray[np.bool_]:
    """Draw a shape bool [28, 28], which is convex or is not."""
    while True:
        shape = _convex_shape(generator)
        if not convex:
            shape = shape | _convex_shape(generator)
        if LEAST_AREA <= shape.mean() <= MOST_AREA and (convex or _gap(shape) >= LEAST_GAP):
            return shape


def _pixel_centres() -> npt.NDArray[np.float64]:
    """Return x and y of the centres of all pixels in -1..1, [2, 28, 28]."""
    places = (np.arange(CONVEX_PIXELS) + 0.5) / CONVEX_PIXELS * 2 - 1
    return np.stack(np.meshgrid(places, places))


def _convex_shape(generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return an intersection of half-planes: directions and distances from the centre are uniform."""
    number = int(generator.integers(HALF_PLANES[0], HALF_PLANES[1] + 1))
    angles = generator.uniform(0, 2 * np.pi, number)
    distances = generator.uniform(-0.3, 0.9, number)
    normals = np.stack([np.cos(angles), np.sin(angles)], 1)
    along = np.tensordot(normals, _pixel_centres(), 1)
    return np.asarray((along <= distances[:, None, None]).all(0))


def _gap(shape: npt.NDArray[np.bool_]) -> float:
    """Return the part of the pixels in the convex hull of a shape's pixels that are not in it."""
    from scipy.spatial import ConvexHull, QhullError

    centres = _pixel_centres()
    try:
        hull = ConvexHull(centres[:, shape].T)
    except QhullError:  # all pixels on a line
        return 0.0
    inside = (np.tensordot(hull.equations[:, :2], centres, 1) <= 1e-9 - hull.equations[:, 2, None, None]).all(
        0
    )
    return 1 - float(shape.sum() / inside.sum())
