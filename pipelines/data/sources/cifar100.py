"""CIFAR-100: 50,000 + 10,000 colour photographs of 32 x 32 pixels in 100 classes ("fine" labels)."""

from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, RawData
from pipelines.data.roots import load_official
from pipelines.data.sources._cifar import official_cifar

# One text, as a list would fill a hundred lines.
_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
    "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile "
    "cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp "
    "lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom "
    "oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine "
    "possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake "
    "spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor "
    "train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CIFAR100 = official_cifar(
    name="cifar100",
    class_name="CIFAR100",
    class_names=tuple(_CLASSES.split()),
    folders=("cifar100", "cifar-100", "CIFAR100"),
    layout="cifar-100-python",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
)


@SOURCES.register("cifar100")
def load_cifar100(config: PrepareConfig) -> RawData:
    """Return CIFAR-100 from the data root or torchvision's download."""
    return load_official(CIFAR100, config)
