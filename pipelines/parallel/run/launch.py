"""Launch a distributed run with the real `horovodrun` and watch it."""

from collections.abc import Sequence

from pipelines.parallel.run import horovodrun
from pipelines.parallel.run.heartbeat import Limits
from pipelines.parallel.run.job import Job
from pipelines.parallel.strategies import build_strategy


def run(job: Job, program: Sequence[str]) -> None:
    """Be a worker of `job` where horovodrun has started this process; else launch the workers and wait for them.

    `program` is a worker's command line, as arguments of Python. See `launch`.
    """
    if horovodrun.is_worker():
        # Imported late: the launcher trains nothing.
        from pipelines.parallel.run.worker import run_worker

        run_worker(job)
    else:
        launch(job, program)


def launch(job: Job, program: Sequence[str]) -> None:
    """Check everything that can be checked here, then run `job` on its workers and wait for it.

    Raises UserError with the workers' own line when they report a user's mistake, or with the last lines of
    their output when they fail otherwise.
    """
    check(job)
    config = job.distributed
    horovodrun.run(
        options(job),
        program,
        config.threads_per_worker,
        job.name,
        hosts=config.host_slots,
        limits=Limits(
            silence_warning=config.silence_warning_seconds,
            silence_error=config.silence_error_seconds,
            stall_warning=config.stall_warning_seconds,
            stall_error=config.stall_error_seconds,
        ),
    )


def check(job: Job) -> None:
    """Raise UserError, before any worker starts, for parameters or data that would make them fail."""
    build_strategy(job.method, job.params)
    data = job.load_data()
    job.check_batch_size(len(data.train), job.distributed.workers)
    job.build_model(data)


def options(job: Job) -> list[str]:
    """Return horovodrun's options for `job`; a user may give the same by hand."""
    config = job.distributed
    interface = ["--network-interfaces", config.network_interface] if config.network_interface else []
    # Horovod keeps its checks of hosts in the home folder, in a file that two runs at once would tear.
    return ["--disable-cache", "-np", str(config.workers), "-H", config.host_slots, *interface]
