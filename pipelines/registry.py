"""A registry maps public names to factories; a new member is one new module with a decorated entry."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipelines.config.show import show
from pipelines.errors import UserError

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Named entries of one kind, in order of registration.

    Parameters
    ----------
    kind: what an entry is, used in error messages ("model", "data set", ...).
    key: the parameter that a user changes to choose another entry, used in error messages.
    """

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that adds its argument as `name`; a second entry of a name raises ValueError."""

        def add(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> Entry:
        """Return the entry called `name`; an unknown name raises UserError with the known ones."""
        try:
            return self._entries[name]
        except KeyError:
            raise UserError(
                f"{self.key}: {show(name)} is no known {self.kind}; known: {', '.join(self)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
