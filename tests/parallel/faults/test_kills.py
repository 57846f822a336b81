"""Two real ranks: killed, stopped or spoilt at any moment, the same command ends as if nothing had happened."""

import random
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest

from tests.parallel.faults.launches import (
    SIGCONT,
    SIGKILL,
    SIGSTOP,
    Launch,
    equal,
    left,
    wait_until_stopped,
    write_params,
)
from tests.parallel.faults.run_job import POISON
from tests.soak import Tried, times

EPOCHS = times(6, 12)
KILLS = times(1, 20)
KINDS: list[tuple[int, ...]] = [(1,), (0,), (0, 1), ()]
"""Which ranks are killed; none: the launcher."""


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parameters of a job that has run undisturbed."""
    file = write_params(tmp_path_factory.mktemp("ranks") / "alone", EPOCHS)
    status, log = Launch(file).finish()
    assert status == 0, log
    return file


def copied(params: Path, folder: Path, **changes: int) -> Path:
    """Return the same parameters, with `changes` of the section distributed, in a folder where nothing has run."""
    shutil.copytree(params.parent / "data", folder / "data")
    shutil.copy(params.parent / "mlflow.db", folder)  # making a new one takes longer than the job
    text = params.read_text().replace(str(params.parent), str(folder))
    for key, value in changes.items():
        text, count = re.subn(rf"\b{key}: \d+", f"{key}: {value}", text)
        assert count == 1, key
    file = folder / "params.yaml"
    file.write_text(text)
    return file


def finish_and_compare(job: Path, params: Path, finished: int = 1) -> None:
    """Run the job to its end, which ends like the undisturbed one; `finished`: that one, and the job's before."""
    launch = Launch(job)
    status, log = launch.finish()
    assert status == 0, log
    assert equal(left(job.parent), left(params.parent)), "the resumed job ended elsewhere"
    client = mlflow.MlflowClient(f"sqlite:///{job.parent}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    states = Counter(run.info.status for run in client.search_runs(experiments))
    assert states["FINISHED"] == finished + 1
    assert set(states) <= {"FINISHED", "KILLED", "FAILED"}, states


def kill(launch: Launch, ranks: tuple[int, ...], generator: random.Random) -> bool:
    """Kill at a random moment: of the start, or of an epoch that this launch trains. False: the job was faster."""
    before = launch.epoch()
    if not launch.wait_for(lambda: len(launch.ranks()) == 2):
        return False
    begin = time.monotonic()
    if generator.random() < 0.75:
        if not launch.wait_for(lambda: launch.epoch() > before):
            return False
        time.sleep(generator.uniform(0.0, 1.0))
    else:
        time.sleep(generator.uniform(0.0, 5.0))
    if launch.process.poll() is not None or len(launch.ranks()) < 2:
        return False
    when = launch.signal(SIGKILL, *ranks)
    status, log = launch.finish()
    print(
        f"ranks {ranks or 'launcher'} killed at {when - begin:.1f} s, all gone {time.monotonic() - when:.1f} s later"
    )
    assert status != 0
    if ranks:
        named = [rank for rank in ranks if f"rank {rank} on localhost was killed (SIGKILL" in log]
        assert named, log
        assert "Traceback" not in log
    return True


@pytest.mark.timeout(3600)
def test_a_spoilt_loss_and_kills_lose_nothing(tmp_path: Path, params: Path, tried: Tried) -> None:
    """A loss that is NaN on one rank ends both, then ranks and launcher are killed; the end is bit-identical."""
    tried("kills of two-rank runs", KILLS)
    job = copied(params, tmp_path / "job")
    status, log = Launch(job, **{POISON: "3"}).finish()
    assert status == 1
    assert "rank 1: the loss became nan in epoch 3; lower recipe.learning_rate" in log
    assert "Traceback" not in log
    kills = Counter[tuple[int, ...]]()
    finished = 1
    generator = random.Random(20)
    launch = Launch(job)
    assert launch.epoch() == 2, "the last good checkpoints are not those of epoch 2"
    while kills.total() < KILLS:
        kind = KINDS[kills.total() % len(KINDS)]
        if kill(launch, kind, generator):
            kills[kind] += 1
        else:
            launch.finish()
            assert equal(left(job.parent), left(params.parent)), "a job that was faster ended elsewhere"
            shutil.rmtree(job.parent / "checkpoints")
            finished += 1
        if kills.total() < KILLS:
            launch = Launch(job)
    finish_and_compare(job, params, finished)
    print(f"{kills.total()} kills of two ranks, by ranks ((): the launcher): {dict(kills)}; nothing lost")


@pytest.mark.soak
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_rank_is_named_then_the_job_ends_and_resumes(
    tmp_path: Path, params: Path, rank: int, tried: Tried
) -> None:
    tried("stopped ranks", 1)
    file = copied(params, tmp_path / "job", silence_warning_seconds=10, silence_error_seconds=30)
    launch = Launch(file)
    assert launch.wait_for(lambda: launch.epoch() > 0)
    process = launch.ranks()[rank]
    launch.signal(SIGSTOP, rank)
    wait_until_stopped(process)
    status, log = launch.finish()
    assert status == 1
    warning = log.index(f"warning: rank {rank} on localhost gave no sign of life for 10 s")
    assert warning < log.index(
        f"rank {rank} on localhost gave no sign of life for 30 s: stopped, or the host"
    )
    finish_and_compare(file, params)


@pytest.mark.soak
def test_a_stopped_rank_that_goes_on_costs_nothing(tmp_path: Path, params: Path, tried: Tried) -> None:
    tried("stopped ranks", 1)
    file = copied(params, tmp_path / "job", silence_warning_seconds=10, silence_error_seconds=600)
    launch = Launch(file)
    assert launch.wait_for(lambda: launch.epoch() > 0)
    launch.signal(SIGSTOP, 1)
    assert launch.wait_for(lambda: "warning: rank 1 on localhost gave no sign" in launch.log.read_text())
    launch.signal(SIGCONT, 1)
    status, log = launch.finish()
    assert status == 0, log
    assert equal(left(file.parent), left(params.parent))
