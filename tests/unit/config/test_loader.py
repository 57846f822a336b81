"""The strict loader: each mistake is one line with the file, the key, the value and what is allowed."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.config import choice, load_section, load_yaml, require
from pipelines.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    flip: bool


@dataclass(frozen=True, kw_only=True)
class Section:
    epochs: int
    rate: float
    kind: str
    root: str | None
    sizes: tuple[int, ...]
    inner: Inner
    limit: int | None = None

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "a whole number of at least 1")
        choice("kind", self.kind, ("step", "cosine"))


GOOD = """
section:
  epochs: 3
  rate: 5e-4
  kind: step
  root: null
  sizes: [1, 2]
  inner: {flip: true}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_loads_exactly_what_the_file_says(tmp_path: Path) -> None:
    section = load_section(Section, "section", write(tmp_path, GOOD))
    assert section == Section(
        epochs=3, rate=0.0005, kind="step", root=None, sizes=(1, 2), inner=Inner(flip=True), limit=None
    )


def test_a_whole_number_passes_for_a_number(tmp_path: Path) -> None:
    section = load_section(Section, "section", write(tmp_path, GOOD.replace("5e-4", "1")))
    assert section.rate == 1.0
    assert isinstance(section.rate, float)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "epochs: 3",
            "epochs: -1",
            "section.epochs: -1 is not allowed; allowed: a whole number of at least 1",
        ),
        ("epochs: 3", "epochs: three", "section.epochs: 'three' is not allowed; allowed: a whole number"),
        ("epochs: 3", "epochs: true", "section.epochs: True is not allowed; allowed: a whole number"),
        ("epochs: 3", "epochs: 3.5", "section.epochs: 3.5 is not allowed; allowed: a whole number"),
        ("kind: step", "kind: linear", "section.kind: 'linear' is not allowed; allowed: step, cosine"),
        ("rate: 5e-4", "rte: 5e-4", "section.rte: unknown key (value 0.0005); allowed: epochs, rate, kind"),
        ("  rate: 5e-4\n", "", "section.rate: this key is missing; expected a number"),
        ("root: null", "root: 3", "section.root: 3 is not allowed; allowed: text or null"),
        ("[1, 2]", "[1, x]", "section.sizes[1]: 'x' is not allowed; allowed: a whole number"),
        ("[1, 2]", "1", "section.sizes: 1 is not allowed; allowed: a list of whole numbers"),
        ("{flip: true}", "{flip: 1}", "section.inner.flip: 1 is not allowed; allowed: true or false"),
        ("{flip: true}", "on", "section.inner: 'on' is not allowed; allowed: a mapping"),
        ("section:", "other:", "section: this section is missing; sections here: other"),
        ("epochs: 3", "epochs: 3\n  epochs: 4", 'line 4: found duplicate key "epochs"'),
        ("[1, 2]", "[1, 2", "is no valid YAML"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_value(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_section(Section, "section", path)
    message = str(caught.value)
    assert expected in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_every_reading_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    """Neither what a reader does with its mapping nor what the file was before is seen by the next one."""
    path = write(tmp_path, GOOD)
    load_yaml(path)["section"]["sizes"].append(3)
    assert load_yaml(path)["section"]["sizes"] == [1, 2]
    write(tmp_path, GOOD.replace("epochs: 3", "epochs: 4"))
    assert load_yaml(path)["section"]["epochs"] == 4


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read .*checkout"):
        load_yaml(tmp_path / "nowhere.yaml")


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a mapping of sections is expected, found list"):
        load_yaml(write(tmp_path, "[1, 2]"))
