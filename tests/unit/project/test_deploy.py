"""The files of deploy/ name what exists: stages, methods, files, the plugin's version; their shell scripts parse."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import horovod_gq
from tests.imports import ROOT

DEPLOY = ROOT / "deploy"


def scripts() -> dict[str, str]:
    job: dict[str, Any] = YAML(typ="safe").load(DEPLOY / "mpijob.yaml")
    (launcher,) = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"]
    assert launcher["command"] == ["bash", "-c"]
    return {"mpijob": launcher["args"][0], "slurm": (DEPLOY / "slurm.sbatch").read_text(encoding="utf-8")}


@pytest.mark.parametrize("name", ["mpijob", "slurm"])
def test_script_parses_and_starts_a_run_that_exists(name: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(scripts()[name], encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    (stage,) = re.findall(r"python -m (stages\.\w+)", text)
    assert (ROOT / stage.replace(".", "/")).with_suffix(".py").exists()
    # In the manifest the names stand themselves, in the script as defaults of its arguments.
    found = re.search(r"--method ([a-z]\w*)", text) or re.search(r"method=\$\{2:-(\w+)\}", text)
    assert found is not None
    assert found[1] in YAML(typ="safe").load(ROOT / "params.yaml")["methods"]
    for path in re.findall(r"deploy/\w+\.\w+", text):
        assert (ROOT / path).exists(), path


def test_images_carry_the_version_of_the_code() -> None:
    for name in ("mpijob.yaml", "Dockerfile"):
        tags = set(re.findall(r"gqbench:([\d.]+)", (DEPLOY / name).read_text(encoding="utf-8")))
        assert tags == {horovod_gq.__version__}, name


def test_citation_carries_the_version_of_the_code() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert citation["version"] == horovod_gq.__version__
    assert citation["license"] == "MIT"
