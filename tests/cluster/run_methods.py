"""A Horovod worker that takes a few steps by each of the named methods and prints what eth0 has sent for each.

`python -m tests.cluster.run_methods METHOD...`, through `Cluster.horovodrun_command`; rank 0 prints a line of JSON a
method, with the bytes a step and worker, largest of all ranks, and what negotiation alone sends in such a time.
"""

import json
import sys
import time

import horovod.torch as hvd
import torch
from torch import nn

from pipelines.config import load_section, load_yaml
from pipelines.experiments.sweep.contender import Contender
from pipelines.experiments.sweep.worker import sent_bytes
from pipelines.parallel.strategies import build_method
from pipelines.training import RecipeConfig
from tests.configs import SHORT_TRIALS
from tests.imports import ROOT

PARAMS = ROOT / "params.yaml"
WIDTH = 1024
"""Of the model's layers: 12.6 MB of gradients, so that one bit a value is 0.4 MB and framing a small part of it."""
IDLE_SECONDS = 1.0
NUM_STEPS = 4
"""As many as the parameters' averaging interval in params.yaml, so that every block exchanges."""


def negotiation() -> float:
    """Return the bytes a second that this rank's interface sends while no collective is under way."""
    hvd.barrier()
    before, start = sent_bytes(), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    return (sent_bytes() - before) / (time.perf_counter() - start)


def main() -> None:
    hvd.init(process_sets="dynamic")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), *(nn.Linear(WIDTH, WIDTH) for _ in range(3)), nn.Linear(WIDTH, 10))
    batch = (torch.randn(2, WIDTH), torch.tensor([0, 1]))
    bytes_a_second = negotiation()
    recipe = load_section(RecipeConfig, "recipe", PARAMS)
    document = load_yaml(PARAMS)
    document["methods"]["auto"] |= SHORT_TRIALS | {"wire_bits": [4], "factor_ranks": [1]}
    for method in sys.argv[1:]:
        strategy, _ = build_method(document, method, PARAMS)
        contender = Contender(method, model, strategy, recipe, [batch], sent_bytes)
        contender.warm_up(NUM_STEPS)
        block = contender.run_block(NUM_STEPS)
        mine = (block.payload_bytes, block.interface_bytes, bytes_a_second * block.step_seconds)
        blocks = hvd.allgather_object(mine, name=f"{method}.bytes")
        if hvd.rank() == 0:
            columns = ("payload_bytes", "interface_bytes", "negotiation_bytes")
            row = {"method": method, **dict(zip(columns, map(max, zip(*blocks, strict=True)), strict=True))}
            print(json.dumps(row), flush=True)
    hvd.shutdown()


if __name__ == "__main__":
    main()
