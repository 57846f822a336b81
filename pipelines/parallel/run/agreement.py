"""What all ranks must have in common, compared before anything is trained: settings, data, seed, code, libraries.

Ranks that differ would not fail: they would train another model each, or wait for each other for ever.
"""

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import horovod.torch as hvd

from pipelines.config.show import one_line
from pipelines.errors import UserError
from pipelines.parallel.run.job import Job
from pipelines.provenance import library_versions

ROOT = Path(__file__).resolve().parents[3]
CODE = ("horovod_gq", "pipelines", "stages")
MISSING = "missing"
MOST_SHOWN = 5

Facts = dict[str, str]
"""What a rank has, by key: a parameter's, or what else is compared."""


def facts_of(job: Job, method_entry: Mapping[str, Any], data_checksum: str) -> Facts:
    """Return all that must be the same on every rank of `job`."""
    settings = {
        "model": job.model,
        f"methods.{job.method}": dict(method_entry),
        "distributed": asdict(job.distributed),
        "recipe": job.recipe.identity(),
        "densenet": asdict(job.densenet),
    }
    return {
        **flat(settings),
        "the prepared data": data_checksum,
        "the code": code_digest(),
        **library_versions(),
    }


def flat(settings: Mapping[str, Any], prefix: str = "") -> Facts:
    """Return nested settings as one level, `recipe.augment.flip`, with values as text."""
    facts: Facts = {}
    for key, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if isinstance(value, Mapping):
            facts |= flat(value, f"{prefix}{key}.")
        else:
            facts[f"{prefix}{key}"] = repr(value)
    return facts


@functools.cache
def code_digest(root: Path = ROOT) -> str:
    """Return a digest of all Python files that a run may use; a host need not have git."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def differences(hosts: Sequence[str], facts: Sequence[Facts]) -> list[str]:
    """Return a phrase for each key that is not the same on all ranks: which value which ranks have."""
    keys = dict.fromkeys(key for one in facts for key in one)
    found = []
    for key in keys:
        holders: dict[str, list[str]] = {}
        for rank, (host, one) in enumerate(zip(hosts, facts, strict=True)):
            holders.setdefault(one.get(key, MISSING), []).append(f"rank {rank} ({host})")
        if len(holders) > 1:
            where = (f"{one_line(value)} on {_few(ranks)}" for value, ranks in holders.items())
            found.append(f"{key} is {', '.join(where)}")
    return found


def check(facts: Facts) -> None:
    """Raise UserError on every rank, with what differs and where, unless all ranks have the same facts.

    A collective: call it on all.
    """
    gathered = hvd.allgather_object((os.uname().nodename, facts))
    found = differences([host for host, _ in gathered], [other for _, other in gathered])
    if found:
        more = len(found) - MOST_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        raise UserError(f"the ranks differ: {'; '.join(found[:MOST_SHOWN])}{rest}; make them equal")


def _few(ranks: Sequence[str]) -> str:
    more = f" and {len(ranks) - 3} more" if len(ranks) > 3 else ""
    return ", ".join(ranks[:3]) + more
