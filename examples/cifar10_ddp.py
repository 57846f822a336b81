"""CIFAR-10 with torch's DistributedDataParallel and gradient quantization as its communication hook; needs no Horovod.

    pip install . && torchrun --nproc-per-node 2 examples/cifar10_ddp.py

Against a plain DDP script two lines differ: the import, and the hook that is registered.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from cifar10_common import SmallNet, load_cifar10, parse_arguments
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from horovod_gq.ddp import GQState, gq_hook


def main() -> None:
    arguments = parse_arguments("CIFAR-10 with DistributedDataParallel and GQ")
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    torch.set_num_threads(1)

    dataset = load_cifar10(arguments.data)
    sampler = torch.utils.data.distributed.DistributedSampler(dataset)
    loader = torch.utils.data.DataLoader(dataset, arguments.batch_size, sampler=sampler, drop_last=True)

    bare = SmallNet()
    optimizer = torch.optim.SGD(bare.parameters(), lr=arguments.lr * dist.get_world_size(), momentum=0.9)
    model = DistributedDataParallel(bare)

    state = GQState(model, wire_bits=arguments.wire_bits)
    model.register_comm_hook(state, gq_hook)

    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        total = torch.zeros(1)
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        dist.all_reduce(total)
        if dist.get_rank() == 0:
            mean = total.item() / len(loader) / dist.get_world_size()
            print(f"epoch {epoch + 1}: loss {mean:.4f}", flush=True)
    if dist.get_rank() == 0:
        fp32_bytes = 4 * sum(p.numel() for p in bare.parameters())
        print(f"bytes per step: {state.wire_bytes_per_step()} (fp32: {fp32_bytes})", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
