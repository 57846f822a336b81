"""The trace of a distributed run: its own timed steps, and what its method's codec costs; rank 0 alone records."""

from typing import TYPE_CHECKING

from pipelines.parallel.traces.chrome import write_chrome_trace
from pipelines.parallel.traces.codecs import Batch, record_codec
from pipelines.parallel.traces.trace import Codec, Trace
from pipelines.provenance import provenance
from pipelines.training import build_optimizer

if TYPE_CHECKING:
    from pipelines.parallel.run.worker import Worker


def write_traces(worker: "Worker") -> None:
    """Write `job.trace_file`, and the same for Perfetto (`job.chrome_file`); no other rank takes part.

    The step's parts are those of the steps without exchange that were timed between the training's. The codec is timed
    on a batch of `distributed.trace_batch_size` samples, since what it costs does not depend on them.
    """
    recorder = worker.reference.recorder
    alternatives = worker.strategy.alternatives(recorder.tensors, worker.num_workers)
    # A policy's buckets are coded as those of the methods that it chooses among.
    codecs = {worker.job.method: _record(worker)} if len(alternatives) == 1 else {}
    trace = Trace(
        model=worker.job.model,
        batch_size=worker.job.distributed.batch_size,
        codecs=codecs,
        provenance={"steps": len(recorder.samples), **provenance(worker.device)},
        **recorder.summary(),
    )
    trace.write(worker.job.trace_file)
    patterns = {worker.job.method: alternatives[0]}
    write_chrome_trace(trace, patterns, worker.num_workers, worker.job.chrome_file)


def _record(worker: "Worker") -> Codec:
    config = worker.job.distributed
    images, labels = worker.reference.images, worker.reference.labels
    batch: Batch = (images[: config.trace_batch_size], labels[: config.trace_batch_size])
    return record_codec(
        worker.job.method,
        worker.method_entry,
        worker.model,
        [batch],
        lambda replica: build_optimizer(replica, worker.recipe),
        config.trace_warmup_steps,
        config.trace_steps,
    )
