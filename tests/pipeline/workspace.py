"""A throw-away checkout of this project in which a test runs DVC for real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.configs import UNCOMPILED
from tests.imports import ROOT


class Workspace:
    """A copy of the project's files under git and DVC, with parameters of its own.

    Its commands compile no kernels, unless told to.
    """

    def __init__(self, folder: Path, *, compiles: bool = False) -> None:
        self.folder = folder
        self._settings = {} if compiles else UNCOMPILED
        folder.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            # A file that git still lists may be deleted in the working tree.
            if name.startswith(("reference/", "tests/")) or not (ROOT / name).is_file():
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        self.run("git", "init", "-q", "-b", "main")
        self.commit("start")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands: this interpreter's programs first, a small thread count."""
        environment = os.environ | self._settings
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        for key in ("MLFLOW_TRACKING_URI", "GQBENCH_PIPELINE_RUN", "GQBENCH_DATA_ROOT", "PYTHONPATH"):
            environment.pop(key, None)
        # A user's own git identity and hooks must not matter.
        identity = {"NAME": "gqbench", "EMAIL": "gqbench@example.invalid"}
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{role}_{key}": value for key, value in identity.items()}
        return environment

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start `command` in a session of its own, output to pipes."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def attempt(self, *command: str, **environment: str) -> tuple[int, str]:
        """Run `command`, return its status and its output."""
        process = self.start(*command, **environment)
        output, _ = process.communicate()
        return process.returncode, output

    def run(self, *command: str, **environment: str) -> str:
        """Run `command`, which must succeed, and return its output."""
        status, output = self.attempt(*command, **environment)
        assert status == 0, f"{' '.join(command)} ended with {status}:\n{output}"
        return output

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def set_params(self, **values: Any) -> None:
        """Change parameters: `recipe__epochs=1` sets recipe.epochs."""
        path = self.folder / "params.yaml"
        yaml = YAML(typ="safe", pure=True)
        params = yaml.load(path.read_text(encoding="utf-8"))
        for dotted, value in values.items():
            *parents, last = dotted.split("__")
            section = params
            for parent in parents:
                section = section[parent]
            section[last] = value
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(params, file)

    def json(self, name: str) -> Any:
        """Read a JSON file of the workspace."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def stages_run(output: str) -> list[str]:
    """Return the stages that `dvc repro` ran, from its output, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
