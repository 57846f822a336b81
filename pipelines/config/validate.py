"""Range checks for the `__post_init__` of a parameter dataclass."""

from collections.abc import Iterable


class FieldError(ValueError):
    """A field's value is out of range; the loader adds the file and the section to the message."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {value!r} is not allowed; allowed: {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raise FieldError unless `condition` holds; `allowed` says in words which values do."""
    if not condition:
        raise FieldError(key, value, allowed)


def choice(key: str, value: object, allowed: Iterable[object]) -> None:
    """Raise FieldError unless `value` is one of `allowed`."""
    options = list(allowed)
    require(value in options, key, value, ", ".join(str(option) for option in options))
