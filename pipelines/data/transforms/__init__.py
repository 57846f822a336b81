"""Input transforms: fixed changes that every image goes through, in training, evaluation and prediction alike.

A transform is one module here with a function registered in `TRANSFORMS`; importing this package registers them all.
`prepare.transform` names the one to use. It maps images uint8 [n, c, h, w] to images of the same size and type; each
image's result depends on that image alone. It may append channels: the first c are an image still. (Random changes to
training images are in `pipelines.data.augment`.)
"""

from importlib import import_module
from pkgutil import iter_modules

from pipelines.data.transforms.registry import TRANSFORMS, image_channels, transform_images

__all__ = ["TRANSFORMS", "image_channels", "transform_images"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
