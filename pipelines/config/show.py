"""How a value or a key from a user's file is shown in one line, whatever it is."""

import reprlib

MOST_CHARACTERS = 160

_short = reprlib.Repr()
_short.maxlevel = 3  # aliases can make a value of a thousand bytes whose whole repr fills the memory
_short.maxstring = _short.maxother = _short.maxlong = MOST_CHARACTERS
_short.maxlist = _short.maxtuple = 30
_short.maxdict = 10


def show(value: object) -> str:
    """Return `value` as Python writes it, in one line, the middle left out where it is long."""
    try:
        text = _short.repr(value)
    except ValueError:  # a whole number of thousands of digits, which Python does not write
        return "a number of too many digits"
    return text if len(text) <= 2 * MOST_CHARACTERS else f"{text[: 2 * MOST_CHARACTERS]}..."


def show_key(key: object) -> str:
    """Return a key as it stands in the file, or quoted where it is long, no text or not printable."""
    plain = isinstance(key, str) and len(key) <= MOST_CHARACTERS and key.isprintable()
    return str(key) if plain else show(key)


def one_line(text: object) -> str:
    """Return the first line of a library's message, shortened, only what is printable."""
    lines = str(text).splitlines()
    line = "".join(filter(str.isprintable, lines[0] if lines else ""))
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}..."
