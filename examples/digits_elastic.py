r"""Handwritten digits with workers that come and go: elastic Horovod and gradient quantization on the fast path.

    pip install . scikit-learn
    printf '#!/bin/sh\necho a:1\necho b:1\necho c:1\n' > hosts.sh && chmod +x hosts.sh
    horovodrun --gloo -np 3 --min-np 2 --max-np 3 --host-discovery-script ./hosts.sh \
        --blacklist-cooldown-range 10 60 python examples/digits_elastic.py

Against an elastic script of plain Horovod two lines differ: the optimizer, and the state.
"""

from __future__ import annotations

import argparse
import os

import horovod.torch as hvd
import torch
from sklearn.datasets import load_digits
from torch import nn

import horovod_gq
import horovod_gq.elastic

STEPS_PER_COMMIT = 5


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Digits with horovod_gq.elastic.TorchState")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=16, help="images per worker and step")
    parser.add_argument("--lr", type=float, default=0.02, help="learning rate per worker")
    parser.add_argument("--wire-bits", type=int, default=4, choices=(4, 8, 16))
    parser.add_argument(
        "--residual-limit", type=float, default=float("inf"), help="2 lets few levels bear high rates"
    )
    return parser.parse_args()


def load_data() -> tuple[torch.utils.data.TensorDataset, torch.utils.data.TensorDataset]:
    """Training and test part, images [n, 64] in 0..1; ships with scikit-learn."""
    images, labels = load_digits(return_X_y=True)
    scaled, classes = torch.from_numpy(images / 16).float(), torch.from_numpy(labels).long()
    held_out = torch.arange(len(classes)) % 5 == 0
    parts = [torch.utils.data.TensorDataset(scaled[p], classes[p]) for p in (~held_out, held_out)]
    return parts[0], parts[1]


def main() -> None:
    arguments = parse_arguments()
    hvd.init()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    training, test = load_data()
    sampler = hvd.elastic.ElasticSampler(training, shuffle=True)
    loader = torch.utils.data.DataLoader(training, arguments.batch_size, sampler=sampler)

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    sgd = torch.optim.SGD(model.parameters(), lr=arguments.lr * hvd.size(), momentum=0.9)
    settings = {"wire_bits": arguments.wire_bits, "residual_limit": arguments.residual_limit}
    optimizer = horovod_gq.DistributedOptimizer(sgd, model, **settings)
    state = horovod_gq.elastic.TorchState(model=model, optimizer=optimizer, sampler=sampler, epoch=0, step=0)

    @hvd.elastic.run
    def train(state: horovod_gq.elastic.TorchState) -> None:
        print(f"{os.uname().nodename}: {hvd.size()} workers at step {state.step}", flush=True)
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * hvd.size()
        while state.epoch < arguments.epochs:
            for number, (images, labels) in enumerate(loader):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
                state.step += 1
                sampler.record_batch(number, arguments.batch_size)
                if state.step % STEPS_PER_COMMIT == 0:
                    state.commit()
            state.epoch += 1
            sampler.set_epoch(state.epoch)
            state.commit()

    train(state)
    with torch.no_grad():
        hits = model(test.tensors[0]).argmax(1) == test.tensors[1]
    if hvd.rank() == 0:
        print(f"steps {state.step}, test accuracy {hits.float().mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
