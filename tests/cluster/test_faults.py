"""Distributed jobs on emulated hosts whose links lose packets or go down, whose workers die; and elastic ones."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.cluster import EmulatedCluster
from pipelines.parallel.run import checkpoint
from pipelines.results import read_json
from tests.cluster import faults
from tests.imports import ROOT
from tests.parallel.faults.launches import JOB, write_params
from tests.soak import Tried

pytestmark = [pytest.mark.usefixtures("machine"), pytest.mark.timeout(3600)]
soak = pytest.mark.soak

MODULE = "tests.parallel.faults.run_job"
EXAMPLE = ROOT / "examples/digits_elastic.py"


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


class Job:
    """The stage of a distributed run, started on node0, with a rank on each of two nodes."""

    def __init__(self, folder: Path, epochs: int, **distributed: int) -> None:
        hosts = {"hosts": "node0:1,node1:1", "network_interface": "eth0"}
        self.params = write_params(folder, epochs, **hosts, **distributed)
        self.checkpoints = folder / "checkpoints/distributed" / JOB
        self.row_file = folder / "results/distributed" / f"{JOB}.json"

    @contextmanager
    def on(self, cluster: EmulatedCluster) -> Iterator[subprocess.Popen[str]]:
        with cluster.started([sys.executable, "-m", MODULE, str(self.params)], environment()) as process:
            yield process

    def epoch(self) -> int:
        return min(max(checkpoint._epochs_of(self.checkpoints, rank), default=0) for rank in (0, 1))

    def complete(self, cluster: EmulatedCluster, epochs: int) -> None:
        """Run to the end and check it."""
        with self.on(cluster) as process:
            output, _ = process.communicate()
        assert process.returncode == 0, output
        row = read_json(self.row_file)
        assert (row["epochs"], row["hosts"], row["replicas_identical"]) == (epochs, 2, True)


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def test_lost_packets_cost_time_only(tmp_path: Path, tried: Tried) -> None:
    tried("runs over links that lose or delay packets", 1)
    job = Job(tmp_path / "job", epochs=2)
    with EmulatedCluster(nodes=2, rate=None) as cluster:
        faults.lose_packets(cluster, 1, percent=2)
        job.complete(cluster, epochs=2)
        assert faults.lost_packets(cluster, 1) > 10


@soak
def test_delayed_packets_cost_time_only(tmp_path: Path, tried: Tried) -> None:
    tried("runs over links that lose or delay packets", 1)
    job = Job(tmp_path / "job", epochs=2)
    with EmulatedCluster(nodes=2, rate=None) as cluster:
        undelayed = faults.round_trip_milliseconds(cluster, 0, 1)
        with faults.delayed_packets(cluster, 1, milliseconds=20):
            delayed = faults.round_trip_milliseconds(cluster, 0, 1)
            assert delayed > undelayed + 39  # both ways
            job.complete(cluster, epochs=2)
        print(f"a round trip took {undelayed:.2f} ms, then {delayed:.1f} ms")


@soak
def test_a_link_that_is_down_for_20_seconds_is_survived(tmp_path: Path, tried: Tried) -> None:
    tried("links that are down for 20 s", 1)
    job = Job(tmp_path / "job", epochs=30, silence_warning_seconds=10, silence_error_seconds=300)
    with EmulatedCluster(nodes=2, rate=None) as cluster:
        with job.on(cluster) as process:
            wait_for(process, lambda: job.epoch() >= 1)
            faults.set_link(cluster, 1, "down")
            time.sleep(20)
            before = job.epoch()
            faults.set_link(cluster, 1, "up")
            begin = time.monotonic()
            wait_for(process, lambda: job.epoch() > before)
            print(f"the next epoch came {time.monotonic() - begin:.1f} s after the link")
            output, _ = process.communicate()
        assert process.returncode == 0, output
        assert "warning: rank 1 on node1 gave no sign of life for 10 s" in output
        assert "rank 1 on node1 is there again" in output
        assert read_json(job.row_file)["replicas_identical"]


@soak
@pytest.mark.parametrize("how", ["worker", "host"])
def test_a_dead_worker_or_host_ends_the_job_which_resumes(tmp_path: Path, how: str, tried: Tried) -> None:
    tried("dead workers and hosts", 1)
    job = Job(tmp_path / "job", epochs=20, silence_warning_seconds=15, silence_error_seconds=45)
    with EmulatedCluster(nodes=2, rate=None) as cluster:
        with job.on(cluster) as process:
            wait_for(process, lambda: job.epoch() >= 1)
            begin = time.monotonic()
            if how == "worker":
                assert faults.kill_processes(cluster, 1, MODULE) == 1
            else:
                faults.set_link(cluster, 1, "down")  # first: nobody hears that the processes end
                faults.kill_processes(cluster, 1, MODULE)
            output, _ = process.communicate()
            print(
                f"a dead {how} ended the job after {time.monotonic() - begin:.1f} s: {output.splitlines()[-1]}"
            )
        assert process.returncode == 1
        assert re.search(
            rf"^error: {JOB}: rank 1 on node1 .*goes on after the last epoch", output, re.MULTILINE
        ), output
        assert "Traceback" not in output
        faults.set_link(cluster, 1, "up")
        job.complete(cluster, epochs=20)


class ElasticRun:
    """`examples/digits_elastic.py` on three nodes, started on node0; `hosts` is what discovery finds."""

    def __init__(self, folder: Path, cluster: EmulatedCluster) -> None:
        self.cluster, self.hosts = cluster, folder / "hosts"
        self.discover("node0", "node1", "node2")
        script = folder / "discover.sh"
        script.write_text(f"#!/bin/sh\ncat {self.hosts}\n")
        script.chmod(0o755)
        horovodrun = [str(Path(sys.executable).with_name("horovodrun")), "--gloo", "--disable-cache"]
        elastic = ["-np", "3", "--min-np", "2", "--max-np", "3", "--host-discovery-script", str(script)]
        options = ["--network-interfaces", "eth0", "--blacklist-cooldown-range", "2", "4"]
        program = [sys.executable, str(EXAMPLE), "--epochs", "100"]
        self.command = [*horovodrun, *options, *elastic, *program]
        self.lines: list[str] = []

    def discover(self, *names: str) -> None:
        new = self.hosts.with_suffix(".new")
        new.write_text("".join(f"{name}:1\n" for name in names))
        new.replace(self.hosts)

    def read_until(self, process: subprocess.Popen[str], pattern: str, times: int) -> list[str]:
        """Read lines until so many have matched; return what the last match found."""
        assert process.stdout is not None
        found = []
        for line in process.stdout:
            self.lines.append(line)
            match = re.search(pattern, line)
            if match:
                found.append(match.groups())
                if len(found) == times:
                    return list(found[-1])
        raise AssertionError("".join(self.lines))


@soak
@pytest.mark.parametrize("how", ["worker", "host"])
def test_an_elastic_run_goes_on_without_a_worker_and_takes_it_in_again(
    tmp_path: Path, how: str, tried: Tried
) -> None:
    tried("elastic runs that lose a worker or a host", 1)
    with EmulatedCluster(nodes=3, rate=None) as cluster:
        run = ElasticRun(tmp_path, cluster)
        with cluster.started(run.command, environment() | {"HOROVOD_GLOO_TIMEOUT_SECONDS": "60"}) as process:
            run.read_until(process, r"(\w+): 3 workers at step 0", times=3)
            time.sleep(10)
            if how == "host":
                faults.set_link(cluster, 2, "down")
            assert faults.kill_processes(cluster, 2, EXAMPLE.name) == 1
            if how == "host":
                run.discover("node0", "node1")
            (gone,) = run.read_until(process, r"node\d: 2 workers at step (\d+)", times=2)
            faults.set_link(cluster, 2, "up")
            run.discover("node0", "node1", "node2")
            (back,) = run.read_until(process, r"node\d: 3 workers at step (\d+)", times=3)
            steps, accuracy = run.read_until(process, r"steps (\d+), test accuracy ([\d.]+)", times=1)
            process.communicate()
        assert process.returncode == 0, "".join(run.lines)
        assert 0 < int(gone) <= int(back) < int(steps)
        # Undisturbed it reaches 0.978 (docs/horovod_gq.md); two more of 360 images may be wrong.
        assert float(accuracy) > 0.97, "".join(run.lines)
        print(
            f"a lost {how}: without it from step {gone}, with it again from {back} of {steps}, accuracy {accuracy}"
        )
