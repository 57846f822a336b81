"""Two sets of results as tables: yours, ours, how they differ, and where each was made."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.compare.subjects import SUBJECTS, Number, Subject
from pipelines.errors import UserError
from pipelines.results import Row, read_json
from pipelines.tables import Column, make_table, plain

FACTS = ("commit", "device")
MISSING = "–"


def compare_results(own: Path, reference: Path, files: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of a report on all subjects, or those whose `files` are named, as far as `own` has them.

    Raises UserError for a name that is no subject's, and where there is nothing to compare.
    """
    known = [subject.file for subject in SUBJECTS]
    if unknown := set(files) - set(known):
        raise UserError(f"{sorted(unknown)[0]!r} is nothing to compare; allowed: {', '.join(known)}")
    wanted = [subject for subject in SUBJECTS if subject.file in (files or known)]
    present = [subject for subject in wanted if (own / subject.file).exists()]
    if not present:
        raise UserError(f"{own}: no results to compare yet; run `make repro` first")
    for subject in present:
        if not (reference / subject.file).exists():
            yield f"{subject.file}: {reference} has none of ours to compare with\n"
            continue
        yield from compare_subject(
            subject, read_json(own / subject.file), read_json(reference / subject.file)
        )
    if left := [subject.file for subject in wanted if subject not in present]:
        yield f"Not run here: {', '.join(left)}."


def compare_subject(subject: Subject, own: Sequence[Row], reference: Sequence[Row]) -> Iterator[str]:
    """Yield a heading, what differs in origin, the table of the rows in both, and the rows in one set alone."""
    yours, ours = subject.rows_by_key(own), subject.rows_by_key(reference)
    shared = [key for key in yours if key in ours]
    yield f"== {subject.file}: yours beside ours"
    yield from _origins(list(yours.values()), list(ours.values()))
    if shared:
        yield ""
        yield _table(subject, [(yours[key], ours[key]) for key in shared])
    for whose, only in (("yours", yours.keys() - ours.keys()), ("ours", ours.keys() - yours.keys())):
        if only:
            yield f"only {whose}: {', '.join(' '.join(key) for key in sorted(only))}"
    yield ""


def _origins(own: Sequence[Row], reference: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each fact about machine, code and libraries; the same ones of both sets in one line."""
    versions = sorted({key for row in (*own, *reference) for key in row if key.endswith("_version")})
    same = []
    for fact in (*FACTS, *versions):
        yours, ours = (_values(rows, fact) for rows in (own, reference))
        name = fact.removesuffix("_version")
        if yours == ours == MISSING:
            continue
        if yours == ours:
            same.append(f"{name} {yours}")
        else:
            yield f"{name}: yours {yours}; ours {ours}"
    if same:
        yield f"the same: {', '.join(same)}"


def _values(rows: Sequence[Row], fact: str) -> str:
    return " and ".join(sorted({str(row[fact]) for row in rows if row.get(fact) is not None})) or MISSING


def _table(subject: Subject, pairs: Sequence[tuple[Row, Row]]) -> str:
    columns = [Column(key, key) for key in subject.keys]
    rows: list[Row] = [{key: str(yours[key]) for key in subject.keys} for yours, _ in pairs]
    for number in subject.numbers:
        for place, heading in (("yours", number.heading), ("ours", "ours"), ("change", "yours / ours")):
            columns.append(Column(f"{number.key} {place}", heading if place != "change" else _sign(number)))
        for row, (yours, ours) in zip(rows, pairs, strict=True):
            row |= _cells(number, yours.get(number.key), ours.get(number.key))
    return plain(make_table(rows, columns))


def _sign(number: Number) -> str:
    return "yours / ours" if number.ratio else "yours - ours"


def _cells(number: Number, yours: float | None, ours: float | None) -> Row:
    cells: Row = {f"{number.key} yours": None if yours is None else number.format(yours)}
    cells[f"{number.key} ours"] = None if ours is None else number.format(ours)
    if yours is not None and ours is not None:
        difference = number.format(yours - ours)
        signed = difference if difference.startswith("-") else f"+{difference}"
        change = (f"{yours / ours:.3f}" if ours else MISSING) if number.ratio else signed
        cells[f"{number.key} change"] = change
    return cells
