"""No parameter file, however wrong, ends in anything but sections or one line a problem."""

import copy
import dataclasses
import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import load_yaml
from pipelines.errors import UserError
from pipelines.preflight.references import check_references
from pipelines.preflight.sections import check_sections, read_sections
from tests.imports import ROOT
from tests.soak import SOAK, Tried, times

COMMITTED = ROOT / "params.yaml"
CONTENT = COMMITTED.read_bytes()
DOCUMENT = load_yaml(COMMITTED)
UNPRINTABLE = ["\0", "a\nb", "\ud800", "\ufeffx", "\u202ex"]
NASTY_TEXT = [*UNPRINTABLE, "x" * 10_000, "../../etc/passwd", "$(touch x)", "-oProxyCommand=x"]


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every scalar of a document with the keys that lead to it."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path, node
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


def replaced(value: Any, *paths: tuple[Any, ...]) -> dict[str, Any]:
    """Return the committed document with another value in some places."""
    document = copy.deepcopy(DOCUMENT)
    for path in paths:
        node = document
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    return document


def problems_of(document: dict[str, Any]) -> list[str]:
    return check_sections(document, COMMITTED)[1]


def problems_at(value: Any, paths: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], list[str]]:
    """Return the problems of each place where `value` is put; one of each section at a time, as they are told apart."""
    places = defaultdict(list)
    for path in paths:
        places[path[0]].append(path)
    found = {}
    for group in itertools.zip_longest(*places.values()):
        one_a_section = [path for path in group if path is not None]
        problems = problems_of(replaced(value, *one_a_section))
        for path in one_a_section:
            found[path] = [one for one in problems if one.startswith(f"{COMMITTED}: {path[0]}")]
    return found


def check_lines(problems: list[str], allowed_start: str) -> None:
    for problem in problems:
        assert problem.isprintable(), f"no printable line: {problem!r}"
        assert problem.startswith(allowed_start) or ": " in problem
        assert len(problem) < 2000


NUMBERS = [
    path
    for path, value in leaves(DOCUMENT)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
]
TEXTS = [path for path, value in leaves(DOCUMENT) if isinstance(value, str)]


def test_the_committed_file_has_no_problem() -> None:
    sections, problems = read_sections(COMMITTED)
    assert problems == []
    assert set(sections["methods"]) == set(DOCUMENT["methods"])


@pytest.mark.parametrize("value", [10**30, -1, math.inf, -math.inf, math.nan, 10**400])
def test_no_number_takes_infinity_nan_a_negative_or_a_huge_value(value: Any) -> None:
    assert len(NUMBERS) > 130
    accepted = [path for path, problems in problems_at(value, NUMBERS).items() if not problems]
    assert accepted == []


@pytest.mark.parametrize(
    "key", ["train_limit", "test_limit", "image_size", "epochs", "global_batch_size", "seeds"]
)
def test_sizes_and_limits_of_the_accuracy_test_are_at_least_1(key: str) -> None:
    problem = problems_of(replaced(0, ("convergence", "parity", "sets", "digits", key)))
    assert len(problem) == 1
    assert f"convergence.parity.sets.digits.{key}: 0 is not allowed; allowed: " in problem[0]


@pytest.mark.parametrize("text", UNPRINTABLE)
def test_no_text_takes_control_characters(text: str) -> None:
    for path, problems in problems_at(text, TEXTS).items():
        assert problems, path
        check_lines(problems, str(COMMITTED))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\nb: \xff\n", "line 2: the byte 0xff is no UTF-8"),
        (b"a: 1\nb: \x07\n", r"line 2: the character '\x07' is not allowed in YAML"),
        (b"a: 1\nb: \xef\xbf\xbe\n", r"line 2: the character '\ufffe' is not allowed"),
        (b"a: " + b"[" * 2000, "is nested too deeply"),
        (b"a: " + b"9" * 5000, "is no valid YAML: "),
        (b"a: 2001-99-99\n", "is no valid YAML: "),
        (b"a: !!python/object/apply:os.getcwd []\n", "line 1: is no valid YAML: could not determine"),
        (b"a: *b\n", "line 1: is no valid YAML: found undefined alias"),
        (b"", "a mapping of sections is expected, found NoneType"),
        (b"a: 1\n---\nb: 2\n", "line 2: is no valid YAML: "),
    ],
)
def test_a_file_that_is_no_yaml_is_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        load_yaml(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {expected}")
    assert message.isprintable()


def test_aliases_that_unfold_to_a_huge_value_stay_one_short_line(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    sections, problems = read_sections(write(tmp_path, "\n".join([*lines, "recipe: *a29"]).encode()))
    assert sections == {"methods": {}}
    check_lines(problems, str(tmp_path))


def numbers_within(value: Any) -> Iterator[float]:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from numbers_within(getattr(value, field.name))
    elif isinstance(value, dict):
        for element in value.values():
            yield from numbers_within(element)
    elif isinstance(value, tuple):
        for element in value:
            yield from numbers_within(element)
    elif isinstance(value, int | float):
        yield value


SCALARS = [b"-1", b"0", b".inf", b"-.inf", b".nan", b"1e999", b"10" * 20, b"true", b"null", b"''", b"[]", b"{}",
           b"'\\0'", b'"\\0"', b'"\\ud800"', b"2001-12-14", b"!!python/object:os.system x", b"<<", b"*a", b"&a x",
           b"0x" + b"f" * 5000, b"? [a]", b"- -", b"|", b">", b"%YAML 1.1", b"!!set {a}", b"\xef\xbb\xbf"]  # fmt: skip


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Return `content` after one to four random changes of bytes, tokens or lines."""
    for _ in range(generator.randint(1, 4)):
        content = generator.choice(MUTATIONS)(content, generator) or b"#"
    return content


def _flip_bit(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _insert(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    return content[:place] + generator.randbytes(generator.randint(1, 4)) + content[place:]


def _cut(content: bytes, generator: random.Random) -> bytes:
    start = generator.randrange(len(content))
    return content[:start] + content[start + generator.choice([1, 2, 10, 100, len(content)]) :]


def _replace_scalar(content: bytes, generator: random.Random) -> bytes:
    lines = content.split(b"\n")
    index = generator.randrange(len(lines))
    key, colon, _ = lines[index].partition(b": ")
    lines[index] = key + (colon or b" ") + generator.choice(SCALARS)
    return b"\n".join(lines)


def _replace_number(content: bytes, generator: random.Random) -> bytes:
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    if not places:
        return content
    place = generator.choice(places)
    return content[:place] + generator.choice(SCALARS) + content[place + 1 :]


def _repeat_line(content: bytes, generator: random.Random) -> bytes:
    lines = content.split(b"\n")
    lines.insert(generator.randrange(len(lines) + 1), generator.choice(lines))
    return b"\n".join(lines)


def _drop_line(content: bytes, generator: random.Random) -> bytes:
    lines = content.split(b"\n")
    del lines[generator.randrange(len(lines))]
    return b"\n".join(lines)


MUTATIONS = [_flip_bit, _insert, _cut, _replace_scalar, _replace_number, _repeat_line, _drop_line]


@pytest.mark.timeout(0 if SOAK else 600)
def test_a_mutated_file_is_accepted_or_named_in_one_line_a_problem(tmp_path: Path, tried: Tried) -> None:
    tried("mutated parameter files", times(150, 6000))
    outcomes: Counter[str] = Counter()
    for seed in range(times(150, 6000)):
        path = write(tmp_path, mutate(CONTENT, random.Random(seed)))
        sections, problems = read_sections(path)
        check_lines(problems, str(path))
        check_lines(check_references(sections, sections.pop("methods"), path), str(path))
        for number in numbers_within(sections):
            assert math.isfinite(number), seed
            assert 0 <= number < 2**70, seed  # below 1e20, the largest learning rate
        outcomes["refused" if problems else "accepted"] += 1
    print(f"{outcomes.total()} mutated parameter files: {dict(outcomes)}")
    # A mutation that never harms, or always, would prove nothing.
    assert min(outcomes["accepted"], outcomes["refused"]) > 0.01 * outcomes.total()


@settings(max_examples=times(100, 3000), deadline=None, database=None, derandomize=not SOAK)
@given(
    path=st.sampled_from([path for path, _ in leaves(DOCUMENT)]),
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.sampled_from(NASTY_TEXT)
        | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        ),
        max_leaves=5,
    ),
)
def check_any_value(path: tuple[Any, ...], value: Any) -> None:
    check_lines(problems_of(replaced(value, path)), str(COMMITTED))


def test_any_value_in_any_place_is_accepted_or_named(tried: Tried) -> None:
    tried("any values in any places of params.yaml", times(100, 3000))
    check_any_value()
