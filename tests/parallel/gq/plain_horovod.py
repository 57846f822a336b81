"""A plain Horovod training script, as users have it; test_examples.py changes a few of its lines to use GQ.

It does what Horovod's own examples do: scaled learning rate with warm-up, several backward passes a step, gradient
clipping, a checkpoint on rank 0 whose states are broadcast after the optimizer was wrapped.
"""

import sys
from pathlib import Path

import horovod.torch as hvd
import torch

from tests.parallel.gq.common import loss_of, make_model

PASSES, EPOCHS, STEPS = 2, 4, 10

hvd.init()
torch.set_num_threads(1)
model = make_model(seed=hvd.rank())
optimizer = torch.optim.SGD(model.parameters(), lr=0.02 * hvd.size(), momentum=0.9)
optimizer = hvd.DistributedOptimizer(
    optimizer,
    named_parameters=model.named_parameters(),
    compression=hvd.Compression.none,
    backward_passes_per_step=PASSES,
    op=hvd.Average,
)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, (epoch + 1) / 2))

checkpoint = Path(sys.argv[1])
if checkpoint.exists() and hvd.rank() == 0:
    saved = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
hvd.broadcast_optimizer_state(optimizer, root_rank=0)

for epoch in range(EPOCHS):
    total = 0.0
    for step in range(STEPS):
        optimizer.zero_grad()
        for part in range(PASSES):
            loss = loss_of(model, PASSES * (STEPS * epoch + step) + part, hvd.rank()) / PASSES
            total += loss.item()
            loss.backward()
        optimizer.synchronize()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with optimizer.skip_synchronize():
            optimizer.step()
    scheduler.step()
    mean = hvd.allreduce(torch.tensor(total / STEPS), name="loss").item()
    if hvd.rank() == 0:
        print(f"epoch {epoch + 1}: loss {mean:.4f}", flush=True)

digest = torch.cat([p.detach().flatten() for p in model.parameters()]).double().sum().view(1)
gathered = hvd.allgather(digest, name="digest")
assert torch.equal(gathered[0], gathered[1]), "the replicas differ"
if hvd.rank() == 0:
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
    print(optimizer._compression, flush=True)
