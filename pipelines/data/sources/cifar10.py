"""CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 pixels in 10 classes."""

from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, RawData
from pipelines.data.roots import load_official
from pipelines.data.sources._cifar import official_cifar

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10 = official_cifar(
    name="cifar10",
    class_name="CIFAR10",
    class_names=_CLASSES,
    folders=("cifar10", "cifar-10", "CIFAR10"),
    layout="cifar-10-batches-py",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)


@SOURCES.register("cifar10")
def load_cifar10(config: PrepareConfig) -> RawData:
    """Return CIFAR-10 from the data root or torchvision's download."""
    return load_official(CIFAR10, config)
