"""Two real ranks: a worker's run is reproducible, resumes exactly, and keeps the replicas identical.

Started by test_worker.py through horovodrun in an empty folder; any rank's failure fails the launch.
"""

import dataclasses
import hashlib
import json
import math
import os
import sys
from pathlib import Path

import horovod.torch as hvd
import pytest
import torch
from torch import nn

from pipelines.config import load_section
from pipelines.data import PrepareConfig, PreparedData, load_prepared
from pipelines.data.preparation import prepare
from pipelines.errors import UserError
from pipelines.models.config import DenseNetConfig
from pipelines.parallel import DistributedConfig, Job
from pipelines.parallel.metering.step_times import as_array
from pipelines.parallel.run import agreement, checkpoint
from pipelines.parallel.run.replicas import broadcast, parameter_digest, replicas_identical
from pipelines.parallel.run.traces import write_traces
from pipelines.parallel.run.worker import Worker, result_row, run
from pipelines.parallel.strategies import build_strategy
from pipelines.parallel.traces.trace import Trace
from pipelines.results import read_json
from pipelines.tracking import NullTracker, TrackingConfig
from pipelines.training import (
    DivergedError,
    Judge,
    Objective,
    StartConfig,
    StepFacts,
    StepObjective,
    load_checkpoint,
    train,
)
from pipelines.training.config import RecipeConfig
from tests.damage import flip_byte


def make_job(method: str, params: Path) -> Job:
    return Job(
        model="densenet10",
        method=method,
        distributed=load_section(DistributedConfig, "distributed", params),
        recipe=load_section(RecipeConfig, "recipe", params),
        densenet=load_section(DenseNetConfig, "densenet", params),
        tracking=load_section(TrackingConfig, "tracking", params),
        params=params,
        data_folder=Path("prepared"),
    )


def train_epochs(worker: Worker, epochs: int) -> list[float]:
    losses = []
    for _ in range(epochs):
        losses.append(float(worker.train_epoch()["train_loss"]))
        worker.history.append({"epoch": worker.epoch})
        worker.save()
    return losses


def clear_checkpoints(job: Job) -> None:
    hvd.barrier()
    for path in job.checkpoint_folder.glob(f"rank{hvd.rank()}.*"):
        path.unlink()
    hvd.barrier()


def check_method(job: Job) -> None:
    straight = Worker(job)
    losses = train_epochs(straight, 2)
    assert replicas_identical(straight.model), "replicas differ"
    expected = parameter_digest(straight.model)

    clear_checkpoints(job)
    again = Worker(job)
    assert train_epochs(again, 1) == losses[:1], "the same seed gave another loss"

    resumed = Worker(job)
    resumed.resume()
    assert resumed.epoch == 1
    assert len(resumed.steps) == len(again.steps)
    assert resumed.reference.seconds == again.reference.seconds, "the timed steps of the first part are lost"
    assert train_epochs(resumed, 1) == losses[1:], "the resumed run went another way"
    assert parameter_digest(resumed.model) == expected, "the resumed weights differ"
    if job.method.startswith("gq"):
        # The residuals are per rank: a resume that mixed them up would have shown above, an empty one here.
        assert torch.load(checkpoint.rank_file(job.checkpoint_folder, hvd.rank(), 2), weights_only=True)[
            "strategy"
        ]


def check_transfer(params: Path) -> None:
    """Frozen layers send nothing and stay as they are; a release begins the exchange anew, and a resume finds it so."""
    start = Path("start/best.pt")
    if hvd.rank() == 0:
        source = dataclasses.replace(make_job("sdp", params).recipe, epochs=1, warmup_epochs=0.0)
        data = load_prepared(Path("prepared"))
        model = make_job("sdp", params).build_model(data)
        train(model, data, source, folder=start.parent, tracker=NullTracker(), description="start")
    hvd.barrier()
    transfer = {
        "start_from": StartConfig(path=str(start), sha256=hashlib.sha256(start.read_bytes()).hexdigest()),
        "frozen": {"all": None, "blocks.2": 0.4, "head": 0.4},
    }
    weights = load_checkpoint(start).model_state
    for method in ("sdp", "gq4", "gq4_layerwise"):
        job = make_job(method, params)
        job = dataclasses.replace(
            job,
            recipe=dataclasses.replace(job.recipe, **transfer),
            distributed=dataclasses.replace(job.distributed, epochs=3),
        )
        clear_checkpoints(job)
        whole = Worker(job)
        losses = train_epochs(whole, 1)
        frozen = {n: t for n, t in whole.model.state_dict().items() if not n.startswith("classifier")}
        assert all(torch.equal(t, weights[n]) for n, t in frozen.items()), f"{method}: a frozen layer moved"
        losses += train_epochs(whole, 2)
        assert replicas_identical(whole.model), f"{method}: replicas differ"
        moved = {n for n, t in whole.model.state_dict().items() if not torch.equal(t, weights[n])}
        assert {".".join(n.split(".")[:2]) for n in moved if "classifier" not in n} == {
            *("blocks.2", "head.scale", "head.shift")
        }, f"{method}: {moved}"
        whole.history[-1]["validation_accuracy"] = whole.history[-1]["train_loss"] = 0.0
        whole.history = [row | {"seconds": 1.0} for row in whole.history]
        row = result_row(whole, identical=True)
        check_transfer_row(job, whole, row)
        expected = parameter_digest(whole.model)
        for done in (1, 2):  # before the release, and after it
            clear_checkpoints(job)
            train_epochs(Worker(job), done)
            resumed = Worker(job)
            resumed.resume()
            assert resumed.epoch == done
            assert train_epochs(resumed, 3 - done) == losses[done:], f"{method}: another way from {done}"
            assert parameter_digest(resumed.model) == expected, f"{method}: other weights from {done}"


def check_transfer_row(job: Job, worker: Worker, row: dict[str, object]) -> None:
    """The row's bytes are those after the release, and those before it are the classifier's alone."""
    shapes = {n: tuple(p.shape) for n, p in worker.model.named_parameters()}
    for key, names in (
        ("frozen_wire_bytes_per_step", [n for n in shapes if n.startswith("classifier")]),
        ("wire_bytes_per_step", [n for n in shapes if n.startswith(("classifier", "blocks.2", "head"))]),
    ):
        strategy, _ = build_strategy(job.method, job.params)
        pattern = strategy.pattern([(n, shapes[n]) for n in names], 2)
        assert row[key] == pattern.wire_bytes(), (job.method, key, row[key], pattern.wire_bytes())
    assert row["gradient_bytes"] == sum(4 * math.prod(shapes[n]) for n in names)
    assert row["num_parameters"] == sum(math.prod(shape) for shape in shapes.values())
    steps = len(worker.batches)
    assert row["timed_steps"] == 2 * steps - job.distributed.warmup_steps
    assert [name for name, _ in worker.reference.recorder.tensors] == names


def check_interval(params: Path) -> None:
    """What an averaging interval of four steps sends counts for all four, and what ends an epoch for its last step."""
    rows = {}
    for method in ("gq4_bucketed", "gq4_interval"):
        worker = Worker(make_job(method, params))
        for _ in range(2):
            worker.history.append(worker.train_epoch() | {"validation_accuracy": 0.0})
        assert as_array(worker.steps).min() >= 0, "a part of a step is longer than the step"
        rows[method] = result_row(worker, identical=True)
    # Epochs of five steps: the fourth exchanges, and so does the last one; the very first exchange is in fp32, for
    # the scales. The last eight of nine timed steps are two windows of four, whose median is their mean.
    exchanges = {index: sent for index, sent in enumerate(worker.bytes) if sent != (0, 0.0)}
    every, interval = rows["gq4_bucketed"], rows["gq4_interval"]
    keys = ("wire_bytes_per_step", "sent_bytes_per_step")
    assert list(exchanges) == [3, 4, 8, 9]
    assert exchanges[4] == exchanges[8] == exchanges[9] == tuple(every[key] for key in keys)
    for column, key in enumerate(keys):
        assert interval[key] == sum(sent[column] for sent in exchanges.values()) / 8, key
    assert every["sent_bytes_per_step"] == every["wire_bytes_per_step"], (
        "of two workers each sends its payload once"
    )


def check_common_epoch(job: Job) -> None:
    """A rank that was killed before its last write makes all ranks go back to the epoch they share."""
    if hvd.rank() == 1:
        checkpoint.rank_file(job.checkpoint_folder, 1, 2).unlink()
    hvd.barrier()
    worker = Worker(job)
    worker.resume()
    assert worker.epoch == 1

    foreign = checkpoint.load_common(job.checkpoint_folder, "another fingerprint")
    assert foreign is None, "a checkpoint of other parameters was taken"


def check_damage(job: Job) -> None:
    """A bit that flips in one rank's newest file sends all ranks back an epoch, and the weights end up the same."""
    clear_checkpoints(job)
    straight = Worker(job)
    train_epochs(straight, 2)
    expected = parameter_digest(straight.model)
    if hvd.rank() == 1:
        flip_byte(checkpoint.rank_file(job.checkpoint_folder, 1, 2))
    hvd.barrier()
    resumed = Worker(job)
    resumed.resume()
    assert resumed.epoch == 1, "the damaged checkpoint was taken"
    train_epochs(resumed, 1)
    assert parameter_digest(resumed.model) == expected, "the resumed weights differ"


def check_disagreement(job: Job) -> None:
    """Ranks that differ in all that is compared stop at the start, both with what differs and where."""
    facts = agreement.facts_of
    code = agreement.code_digest
    if hvd.rank() == 1:
        recipe = dataclasses.replace(job.recipe, seed=77)
        job = dataclasses.replace(
            job, recipe=recipe, distributed=dataclasses.replace(job.distributed, epochs=5)
        )
        agreement.facts_of = lambda *args: (
            facts(*args)
            | {
                "the prepared data": "other data",
                "the code": "other code",
                "torch_version": "1.0",
            }
        )
    with pytest.raises(UserError, match="the ranks differ") as caught:
        Worker(job)
    message = str(caught.value)
    agreement.facts_of = facts
    host = os.uname().nodename
    for key, mine, other in (
        ("distributed.epochs", "2", "5"),
        ("recipe.seed", "1", "77"),
        ("the code", code(), "other code"),
        ("torch_version", torch.__version__, "1.0"),
    ):
        assert f"{key} is {mine} on rank 0 ({host}), {other} on rank 1 ({host})" in message, message
    assert "the prepared data is " in message
    assert "other data on rank 1" in message


def check_numbers(job: Job) -> None:
    """A gradient that is not finite on one rank stops both before the step, with the checkpoints of before."""
    clear_checkpoints(job)
    worker = Worker(job)
    train_epochs(worker, 1)
    good = parameter_digest(worker.model)
    if hvd.rank() == 1:
        next(iter(worker.model.parameters())).register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(
        DivergedError, match=r"a gradient is not finite in epoch 2; lower recipe\.learning_rate"
    ):
        worker.train_epoch()
    assert parameter_digest(worker.model) == good, "the step was made"
    resumed = Worker(job)
    resumed.resume()
    assert (resumed.epoch, parameter_digest(resumed.model)) == (1, good)


def check_finish(job: Job) -> None:
    checkpoint.finish(job.checkpoint_folder, {"weight": torch.ones(1)})
    hvd.barrier()
    assert [path.name for path in job.checkpoint_folder.iterdir()] == ["model.pt"]


def check_broadcast() -> None:
    """Buffers of bool, and tensors whose order in memory is another one, are those of rank 0."""
    rank = hvd.rank()
    rows = torch.arange(6).view(2, 3).float()
    state = {"started": torch.tensor(rank == 0), "basis": (rows - 10 * rank).T, "weight": rows + rank}
    broadcast(state)
    assert bool(state["started"])
    assert torch.equal(state["basis"], rows.T)
    assert torch.equal(state["weight"], rows)


def check_traces(params: Path) -> None:
    """Rank 0 alone records what the run's steps and its codec cost; the other does nothing and waits for nothing."""
    for method in ("gq8_bucketed", "topk"):
        job = make_job(method, params)
        worker = Worker(job)
        worker.history.append(worker.train_epoch())
        before = parameter_digest(worker.model)
        if hvd.rank() == 0:
            write_traces(worker)
            trace = Trace.read(job.trace_file)
            # The parts' lower quartiles: of one timed step, that step.
            assert abs(trace.step_seconds - worker.reference.seconds[0]) < 1e-6
            assert [name for name, _ in trace.tensors] == [
                name for name, _ in worker.model.named_parameters()
            ]
            assert trace.batch_size == job.distributed.batch_size
            assert trace.codecs[method].encode_seconds(2) > 0 < trace.codecs[method].decode_seconds(2)
            events = json.loads(job.chrome_file.read_text())["traceEvents"]
            assert {"forward", "backward", "update", "encode", "decode"} <= {
                event["name"] for event in events
            }
        assert parameter_digest(worker.model) == before, "recording trains the model"


def check_quantized(params: Path) -> None:
    """A quantizer that the first batch starts is started alike on all ranks, though their batches differ."""
    job = dataclasses.replace(make_job("sdp", params), model="densenet10-lsq2")
    worker = Worker(job)
    train_epochs(worker, 1)
    assert replicas_identical(worker.model)
    steps = [value for name, value in worker.model.named_parameters() if value.dim() == 0]
    assert steps
    assert all(float(step) not in (0.0, 1.0) for step in steps), "not started by data"
    clear_checkpoints(job)


class FirstPixel(StepObjective):
    """The squared error of the first output [b, classes, 1] against the mean of the image: no classifier's loss."""

    def __call__(
        self, logits: torch.Tensor, labels: torch.Tensor, images: torch.Tensor, facts: StepFacts
    ) -> torch.Tensor:
        assert logits.dim() == 3
        assert facts.indices.shape == labels.shape
        return (logits[:, 0, 0] - images.mean((1, 2, 3))).square().mean()


class Regression(Job):
    """A run that is no classification: another objective, another judge, outputs of another shape."""

    records_trace = False  # which is for classifiers

    def build_model(self, data: PreparedData) -> nn.Module:
        return nn.Sequential(super().build_model(data), nn.Unflatten(1, (-1, 1)))

    def objective(self, data: PreparedData) -> Objective:
        return FirstPixel()

    def judge(self, data: PreparedData) -> Judge:
        return lambda model, split, data, *, batch_size, device: 0.25


def check_objective(params: Path) -> None:
    """What is no classification is trained, timed and judged by its own objective."""
    job = Regression(**vars(make_job("gq4", params)))
    worker = Worker(job)
    run(worker, NullTracker())
    hvd.barrier()
    row = read_json(job.result_file)
    assert (row["test_loss"], row["test_accuracy"]) == (0.25, None)
    assert worker.reference.seconds
    hvd.barrier()
    job.result_file.unlink(missing_ok=True)


def check_different(job: Job) -> None:
    """A run whose replicas differ at its end leaves nothing to go on from: that could only end there again."""
    worker = Worker(job)
    train_epochs(worker, job.distributed.epochs)
    if hvd.rank() == 1:
        next(worker.model.parameters()).data.add_(1)
    with pytest.raises(RuntimeError, match="parameters differ"):
        run(worker, NullTracker())
    assert not list(job.checkpoint_folder.glob(f"rank{hvd.rank()}.*"))
    assert not job.result_file.exists()


def main() -> None:
    params = Path(sys.argv[1])
    os.chdir(params.parent)
    hvd.init()
    if hvd.rank() == 0:
        prepare(load_section(PrepareConfig, "prepare", params), Path("prepared"), Path("samples.png"))
    hvd.barrier()
    check_broadcast()
    for method in ("sdp", "sdp_fp16", "gq8", "gq4"):
        check_method(make_job(method, params))
    check_interval(params)
    check_common_epoch(make_job("gq4", params))
    check_damage(make_job("gq4", params))
    check_finish(make_job("gq4", params))
    check_transfer(params)
    check_quantized(params)
    check_objective(params)
    check_different(make_job("sdp", params))
    # From here on rank 0 has made more optimizers than the other, and their collectives have other names.
    check_traces(params)
    check_disagreement(make_job("gq4", params))
    for method in ("sdp", "sdp_fp16"):
        check_numbers(make_job(method, params))
    hvd.shutdown()


if __name__ == "__main__":
    main()
