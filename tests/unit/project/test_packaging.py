"""The plugin's sdist and wheel hold the plugin, all of it and nothing else; its public names are those of the list."""

import email
import inspect
import tarfile
import zipfile
from pathlib import Path

import pytest

import horovod_gq
from tests.imports import ROOT
from tools import public_api, wheel

PLUGIN = ROOT / "horovod_gq"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return wheel.build(tmp_path_factory.mktemp("dist"))


def test_names_carry_the_version_of_the_code(packages: tuple[Path, Path]) -> None:
    version = horovod_gq.__version__
    assert [package.name for package in packages] == [
        f"horovod_gq-{version}.tar.gz",
        f"horovod_gq-{version}-py3-none-any.whl",
    ]
    assert f"## {version}" in (PLUGIN / "CHANGELOG.md").read_text(encoding="utf-8")


def test_wheel_holds_the_modules_of_the_plugin_alone(packages: tuple[Path, Path]) -> None:
    names = {name for name in zipfile.ZipFile(packages[1]).namelist() if ".dist-info/" not in name}
    assert names == {f"horovod_gq/{file.name}" for file in PLUGIN.glob("*.py")} | {"horovod_gq/py.typed"}


def test_wheel_describes_itself_by_the_plugins_readme(packages: tuple[Path, Path]) -> None:
    archive = zipfile.ZipFile(packages[1])
    (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "horovod-gq"
    assert metadata["Version"] == horovod_gq.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("Requires-Dist") == ["torch>=2.4", 'horovod>=0.28; extra == "horovod"']
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload(decode=True).decode() == (PLUGIN / "README.md").read_text(encoding="utf-8")  # type: ignore[union-attr]


def test_sdist_holds_what_a_reader_needs(packages: tuple[Path, Path]) -> None:
    with tarfile.open(packages[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    examples = {f"examples/{file.name}" for file in (ROOT / "examples").glob("*.py")}
    documents = {f"horovod_gq/{name}" for name in ("README.md", "CHANGELOG.md", "public_api.txt")}
    assert names >= {"LICENSE", "pyproject.toml"} | examples | documents
    assert not {name for name in names if name.split("/")[0] in ("pipelines", "stages", "tests", "README.md")}


def test_public_names_and_signatures_are_those_listed() -> None:
    listed = public_api.LISTING.read_text(encoding="utf-8")
    assert public_api.listing() == listed, (
        "the public names changed; where that is meant, follow horovod_gq/README.md, 'Stability', and run make api"
    )


def test_list_shows_a_changed_default_and_a_removed_name(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = public_api.listing()
    changed = inspect.signature(horovod_gq.num_levels).replace(parameters=[])
    monkeypatch.setattr(horovod_gq.num_levels, "__signature__", changed, raising=False)
    assert "horovod_gq.num_levels()\n" in public_api.listing()
    monkeypatch.setattr(horovod_gq, "__all__", ["GQ"])
    assert "horovod_gq.num_levels" in listed
    assert "horovod_gq.num_levels" not in public_api.listing()
