"""Ranks that differ are told what differs and where; two real ranks do it in tests/parallel/worker."""

import dataclasses
from pathlib import Path

import pytest

from pipelines.parallel.run import agreement
from pipelines.parallel.run.job import Job, load_job
from tests.imports import ROOT

HOSTS = ["node0", "node1", "node1"]


@pytest.fixture(scope="module")
def job() -> Job:
    return load_job("densenet10", "gq4", ROOT / "params.yaml")


def facts(job: Job, data: str = "aaa", **entry: object) -> agreement.Facts:
    return agreement.facts_of(job, {"strategy": "gq", "wire_bits": 4, **entry}, data)


def test_equal_ranks_do_not_differ(job: Job) -> None:
    assert agreement.differences(HOSTS, [facts(job) for _ in HOSTS]) == []


def test_a_setting_a_seed_and_a_method_are_named(job: Job) -> None:
    recipe = dataclasses.replace(job.recipe, learning_rate=0.25, seed=7)
    other = facts(dataclasses.replace(job, recipe=recipe), wire_bits=8)
    assert agreement.differences(HOSTS, [facts(job), other, facts(job)]) == [
        "methods.gq4.wire_bits is 4 on rank 0 (node0), rank 2 (node1), 8 on rank 1 (node1)",
        "recipe.learning_rate is 0.1 on rank 0 (node0), rank 2 (node1), 0.25 on rank 1 (node1)",
        "recipe.seed is 1 on rank 0 (node0), rank 2 (node1), 7 on rank 1 (node1)",
    ]


def test_nested_and_missing_settings_are_named(job: Job) -> None:
    augment = dataclasses.replace(job.recipe.augment, flip=True)
    other = facts(dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, augment=augment)), levels=3)
    assert agreement.differences(HOSTS[:2], [facts(job), other]) == [
        "recipe.augment.flip is False on rank 0 (node0), True on rank 1 (node1)",
        "methods.gq4.levels is missing on rank 0 (node0), 3 on rank 1 (node1)",
    ]


def test_data_and_library_versions_are_named(job: Job) -> None:
    other = facts(job, data="bbb") | {"torch_version": "2.0"}
    found = agreement.differences(HOSTS[:2], [facts(job), other])
    assert found[0] == "the prepared data is aaa on rank 0 (node0), bbb on rank 1 (node1)"
    assert found[1].startswith("torch_version is ")
    assert len(found) == 2
    assert {f"{name}_version" for name in ("python", "torch", "horovod", "numpy")} <= facts(job).keys()


def test_the_code_is_every_python_file(tmp_path: Path) -> None:
    digest = agreement.code_digest.__wrapped__
    for folder in agreement.CODE:
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "module.py").write_text("1\n")
    whole = digest(tmp_path)
    seen = {whole}
    for folder in agreement.CODE:
        (tmp_path / folder / "sub" / "module.py").write_text("2\n")
        seen.add(digest(tmp_path))
    (tmp_path / "pipelines" / "new.py").write_text("")
    seen.add(digest(tmp_path))
    assert len(seen) == 2 + len(agreement.CODE)
    (tmp_path / "pipelines" / "notes.txt").write_text("no code")
    assert digest(tmp_path) in seen
