"""One worker (Horovod rank) of the sweep: all methods take turns in one process."""

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple, fields
from itertools import islice

import horovod.torch as hvd
import torch

from pipelines.cluster.counters import read_interface_bytes
from pipelines.cluster.node import INTERFACE
from pipelines.data import load_prepared, training_batches
from pipelines.experiments.sweep.config import SweepConfig
from pipelines.experiments.sweep.contender import Block, Contender
from pipelines.experiments.sweep.job import SweepJob
from pipelines.experiments.sweep.policy import rivals
from pipelines.experiments.sweep.restart import restart_horovod
from pipelines.experiments.sweep.rows import ALONE, LOCKSTEP, Blocks, sweep_rows
from pipelines.models import build_model_for
from pipelines.parallel.run.progress import report_progress
from pipelines.parallel.strategies import build_strategy
from pipelines.provenance import provenance
from pipelines.results import Row, write_json

NUM_BATCHES = 8
COUNTING_CYCLE = 20.0
"""Milliseconds of Horovod's negotiation while bytes are counted: the rarer it is, the less has to be subtracted."""
COUNTING_ROUNDS = 2


def run_worker(job: SweepJob) -> None:
    """Time all methods of `job` on this Horovod rank; rank 0 writes the rows to `job.part_file`."""
    hvd.init()
    torch.set_num_threads(job.sweep.threads_per_worker)
    contenders = make_contenders(job)
    timed = take_turns(contenders, job)
    counted = count_bytes(contenders, job)
    timed, counted = (hvd.allgather_object(each, name="sweep.blocks") for each in (timed, counted))
    if hvd.rank() == 0:
        gradients = [p for p in contenders[0].model.parameters() if p.requires_grad]
        facts: Row = {
            "model": job.model,
            "link": job.link,
            "workers": hvd.size(),
            "oversubscribed": job.sweep.oversubscribed(hvd.size()),
            "batch_size_per_worker": job.sweep.batch_size,
            "threads_per_worker": job.sweep.threads_per_worker,
            "cores": os.cpu_count(),
            "cycle_milliseconds": job.sweep.cycle_of(hvd.size()),
            "gradient_bytes": sum(p.numel() * p.element_size() for p in gradients),
            "seed": job.recipe.seed,
            **provenance("cpu"),
        }
        columns = [field.name for field in fields(Block)]
        rows = sweep_rows(timed, counted, columns, facts, job.sweep.steps_per_round)
        by_name = {each.name: each for each in contenders}
        expected = {each.name: each.expected_bytes() for each in contenders}
        for row in rows:
            row |= method_facts(row["method"], job)
            row |= by_name[row["method"]].facts()
            # By the formula; the payload that was handed over holds warm-up steps too.
            row["wire_bytes_expected_per_step"] = expected[row["method"]]
        write_json(job.part_file(hvd.size()), rows)
    hvd.shutdown()


def method_facts(method: str, job: SweepJob) -> Row:
    """Return what a row says of its method: the registered strategy, wire width and rank, where it has them."""
    entry = {} if method in (ALONE, LOCKSTEP) else build_strategy(method, job.params)[1]
    return {key: entry.get(key) for key in ("strategy", "wire_bits", "factor_rank", "factor_ranks")}


def make_contenders(job: SweepJob) -> list[Contender]:
    """Build one replica a method, equal on all workers, and two that exchange no gradients."""
    data = load_prepared(job.data_folder)
    model = build_model_for(data, job.model, job.densenet, job.recipe.seed)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    batches = training_batches(
        data,
        job.sweep.batch_size,
        seed=job.recipe.seed,
        device="cpu",
        augment=None,
        rank=hvd.rank(),
        num_workers=hvd.size(),
    )
    kept = list(islice(batches, NUM_BATCHES))
    contenders = [
        Contender(name, model, None, job.recipe, kept, sent_bytes, meets=name == LOCKSTEP)
        for name in (ALONE, LOCKSTEP)
    ]
    for method in job.sweep.methods_of(hvd.size()):
        strategy, _ = build_strategy(method, job.params)
        contenders.append(Contender(method, model, strategy, job.recipe, kept, sent_bytes))
    return contenders


def take_turns(contenders: Sequence[Contender], job: SweepJob) -> Blocks:
    """Run the blocks of all methods in turn, in another order each round; returns them by method.

    What a block costs depends a little on the one before it (caches, the state of the connections).
    """
    blocks: Blocks = {contender.name: [] for contender in contenders}
    sweep = job.sweep
    planned = sweep.rounds
    for index, contender in enumerate(contenders, start=1):
        contender.warm_up(sweep.warmup_steps)
        report_progress(hvd.rank(), index, len(contenders) * (planned + 1))
    turn, start = 0, time.monotonic()
    while turn < planned:
        order = job.shuffled(contenders, hvd.size(), turn)
        for done, contender in enumerate(order, start=1 + len(contenders) * (turn + 1)):
            blocks[contender.name].append(astuple(contender.run_block(sweep.steps_per_round)))
            report_progress(hvd.rank(), done, len(contenders) * (planned + 1))
        turn += 1
        if not sweep.oversubscribed(hvd.size()):
            planned = plan_rounds(sweep, turn, time.monotonic() - start)
    compare_policy(contenders, blocks, job)
    return blocks


def compare_policy(contenders: Sequence[Contender], blocks: Blocks, job: SweepJob) -> None:
    """Run further blocks of `auto` and its close rivals, in turn, and append them to `blocks` (a collective).

    Rank 0's times decide on the rivals, its clock on the end.
    """
    facts = {contender.name: method_facts(contender.name, job) for contender in contenders}
    medians = {name: statistics.median(block[0] for block in mine) for name, mine in blocks.items()}
    names = hvd.broadcast_object(rivals(medians, facts), root_rank=0, name="sweep.rivals")
    close = [contender for contender in contenders if contender.name in names]
    turn, start = len(blocks[ALONE]), time.monotonic()
    while close and goes_on(time.monotonic() - start < job.sweep.policy_seconds):
        for contender in job.shuffled(close, hvd.size(), turn):
            blocks[contender.name].append(astuple(contender.run_block(job.sweep.steps_per_round)))
        turn += 1


def count_bytes(contenders: Sequence[Contender], job: SweepJob) -> Blocks:
    """Run further blocks of all methods, with a longer cycle of the negotiation; returns them by method (a collective).

    Steps are longer then, because a gradient waits for the negotiation: these blocks are for the bytes alone.
    """
    restart_horovod(max(COUNTING_CYCLE, job.sweep.cycle_of(hvd.size())))
    blocks: Blocks = {contender.name: [] for contender in contenders}
    for contender in contenders:
        contender.run_block(1)  # Horovod remembers the names of no tensor yet, and negotiates them at length
    for turn in range(COUNTING_ROUNDS):
        for contender in job.shuffled(contenders, hvd.size(), turn):
            blocks[contender.name].append(astuple(contender.run_block(job.sweep.steps_per_round)))
    return blocks


def goes_on(mine: bool) -> bool:
    """Return what rank 0 says (a collective)."""
    return bool(hvd.broadcast_object(mine, root_rank=0, name="sweep.goes_on"))


def plan_rounds(sweep: SweepConfig, done: int, seconds: float) -> int:
    """Return how many rounds there will be, when `done` have taken `seconds`; the clock of rank 0 decides."""
    return int(hvd.broadcast_object(sweep.rounds_for(done, seconds), root_rank=0, name="sweep.rounds"))


def sent_bytes() -> int:
    """Return what the interface of this emulated node has sent so far."""
    return read_interface_bytes(INTERFACE).sent
