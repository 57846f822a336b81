"""Run workers between the nodes of an emulated cluster, one on each."""

import sys
from collections.abc import Mapping, Sequence

from pipelines.cluster import EmulatedCluster
from pipelines.cluster.spec import UNSHAPED
from pipelines.parallel.run import horovodrun


def run_on_cluster(
    program: Sequence[str], *, workers: int, link: str, environment: Mapping[str, str], description: str
) -> None:
    """Run Python with the arguments `program` on `workers` nodes whose links are of the rate `link`, and wait for it.

    `environment` is that of `horovodrun`, which hands it on. Raises UserError where this machine can emulate no
    cluster, or with the line of the worker that failed.
    """
    with EmulatedCluster(nodes=workers, rate=None if link == UNSHAPED else link) as cluster:
        command = cluster.horovodrun_command(workers, [sys.executable, *program])
        with cluster.started(command, environment) as process:
            output = horovodrun.follow(process, description)
    horovodrun.check_status(process.returncode, description, output)
