"""Networks whose whole structure stands in their name: what architecture searches find, and what anybody writes."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
