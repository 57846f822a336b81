"""Parameters of the distributed runs: sections `distributed` and `methods` of params.yaml."""

import re
from dataclasses import dataclass

from pipelines.config import different, require, whole
from pipelines.config.validate import (
    MOST_BATCH,
    MOST_EPOCHS,
    MOST_SECONDS,
    MOST_STEPS,
    MOST_THREADS,
    MOST_WORKERS,
)

HOST_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*:[1-9][0-9]{0,3}")

LEAST_SILENCE_SECONDS = 10
"""Three signs of life: one that a busy machine delays is no silence."""

INTERFACE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,31}(,[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,31})*")


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """How and where the distributed runs train; section `distributed`."""

    models: tuple[str, ...]
    """Models to train with every method, by registered name; the first matrix axis of the DVC stage."""
    methods: tuple[str, ...]
    """Keys of the section `methods`; the second matrix axis of the DVC stage."""
    workers: int
    """Number of workers (Horovod ranks) that the stage launches."""
    hosts: str | None
    """Hosts and slots as horovodrun takes them (`a:2,b:2`); null: all workers on localhost."""
    network_interface: str | None
    """Network interface that Gloo listens on (`eth0`); null: Horovod chooses."""
    batch_size: int
    """Samples per worker and step; the learning rate is scaled by global batch / recipe.batch_size."""
    epochs: int
    """Passes over the training part, all workers together."""
    warmup_steps: int
    """Steps at the start that the medians leave out (allocation, first uncompressed step, caches)."""
    local_steps: int
    """Timed steps without any exchange, spread over the run: the one-worker reference of the speed-up."""
    threads_per_worker: int
    """Intra-op threads of torch in each worker."""
    trace_batch_size: int
    """Samples of a step on whose gradients the method's codec is timed for the trace, by rank 0 after the training."""
    trace_warmup_steps: int
    """Exchanges before the codec's clock counts."""
    trace_steps: int
    """Timed exchanges of the codec."""
    silence_warning_seconds: int
    """Seconds without a sign of life of a rank (stopped, host or link gone) after which a warning names it."""
    silence_error_seconds: int
    """Seconds without a sign of life of a rank after which the job ends."""
    stall_warning_seconds: int
    """Seconds that a living rank may make no step while others wait for it, after which a warning names it."""
    stall_error_seconds: int
    """Seconds that a living rank may make no step while others wait for it, after which the job ends."""

    def __post_init__(self) -> None:
        """Check the ranges; raises FieldError."""
        different(self, "models", "methods", least=1)
        whole(self, "workers", least=2, most=MOST_WORKERS)
        whole(self, "batch_size", "trace_batch_size", most=MOST_BATCH)
        whole(self, "epochs", most=MOST_EPOCHS)
        whole(self, "local_steps", "trace_steps", most=MOST_STEPS)
        whole(self, "warmup_steps", "trace_warmup_steps", least=0, most=MOST_STEPS)
        whole(self, "threads_per_worker", most=MOST_THREADS)
        self._check_waits()
        interface = self.network_interface
        named = interface is None or INTERFACE_PATTERN.fullmatch(interface) is not None
        require(named, "network_interface", interface, "null or names of interfaces, such as eth0 or eth0,lo")
        if self.hosts is not None:
            self._check_hosts(self.hosts)

    def _check_waits(self) -> None:
        most = int(MOST_SECONDS)
        for kind, least in (("silence", LEAST_SILENCE_SECONDS), ("stall", 1)):
            warning, error = f"{kind}_warning_seconds", f"{kind}_error_seconds"
            whole(self, warning, error, least=least, most=most)
            first, last = getattr(self, warning), getattr(self, error)
            require(last > first, error, last, f"more than {warning}, which is {first}")

    def _check_hosts(self, hosts: str) -> None:
        entries = hosts.split(",")
        require(
            all(HOST_PATTERN.fullmatch(entry) for entry in entries),
            "hosts",
            hosts,
            "null or HOST:SLOTS,HOST:SLOTS",
        )
        slots = sum(int(entry.rpartition(":")[2]) for entry in entries)
        require(
            slots >= self.workers, "hosts", hosts, f"at least {self.workers} slots for distributed.workers"
        )

    @property
    def host_slots(self) -> str:
        """The hosts as horovodrun takes them."""
        return self.hosts or f"localhost:{self.workers}"
