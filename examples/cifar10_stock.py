"""CIFAR-10 with Horovod and gradient quantization through the stock optimizer.

    pip install . && horovodrun -np 2 python examples/cifar10_stock.py

Against a plain Horovod script two lines differ: the compression is made, and passed with its groups and op=hvd.Sum.
"""

from __future__ import annotations

import horovod.torch as hvd
import torch
from cifar10_common import SmallNet, load_cifar10, parse_arguments
from torch import nn

from horovod_gq import GQ


def main() -> None:
    arguments = parse_arguments("CIFAR-10 with hvd.DistributedOptimizer and GQ")
    hvd.init()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    dataset = load_cifar10(arguments.data)
    sampler = torch.utils.data.distributed.DistributedSampler(
        dataset, num_replicas=hvd.size(), rank=hvd.rank()
    )
    loader = torch.utils.data.DataLoader(dataset, arguments.batch_size, sampler=sampler, drop_last=True)

    model = SmallNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr * hvd.size(), momentum=0.9)
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    compression = GQ(wire_bits=arguments.wire_bits).bind(model)
    optimizer = hvd.DistributedOptimizer(
        optimizer,
        named_parameters=model.named_parameters(),
        compression=compression,
        op=hvd.Sum,
        groups=compression.groups,
    )

    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        mean = hvd.allreduce(torch.tensor(total / len(loader)), name="loss")
        if hvd.rank() == 0:
            print(f"epoch {epoch + 1}: loss {mean.item():.4f}", flush=True)
    if hvd.rank() == 0:
        fp32_bytes = 4 * sum(p.numel() for p in model.parameters())
        print(f"bytes per step: {compression.wire_bytes_per_step()} (fp32: {fp32_bytes})", flush=True)


if __name__ == "__main__":
    main()
