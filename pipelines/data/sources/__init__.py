"""The data sets, one module each; importing this package registers them all.

A new one is a module here with an entry decorated by `SOURCES.register`, and an import below.
"""

from pipelines.data.sources import cifar10, cifar100, digits, fashion_mnist, folder, npz, svhn

__all__ = ["cifar10", "cifar100", "digits", "fashion_mnist", "folder", "npz", "svhn"]
