"""What the workers agree on at the end of an epoch."""

import torch
from torch import nn

from horovod_gq.collectives import Collectives
from pipelines.parallel.run.replicas import average_buffers, parameter_digest
from pipelines.parallel.virtual_cluster import run_workers


def test_batch_norm_statistics_become_their_mean_and_counters_stay() -> None:
    def work(collectives: Collectives) -> nn.Module:
        model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        for index, buffer in enumerate(model.buffers()):
            buffer.fill_(4 * collectives.rank + index)
        average_buffers(model, collectives, "first.")
        return model

    # Ranks 0 to 3 hold index, index + 4, index + 8, index + 12: the mean is index + 6, without rounding.
    for rank, model in enumerate(run_workers(4, work)):
        for index, buffer in enumerate(model.buffers()):
            expected = index + 6 if buffer.is_floating_point() else 4 * rank + index
            assert torch.equal(buffer, torch.full_like(buffer, expected))


def test_a_model_without_statistics_asks_for_no_collective() -> None:
    class Nothing:
        rank, workers = 0, 2

    average_buffers(nn.Linear(2, 2), Nothing())  # type: ignore[arg-type]


def test_the_digest_sees_every_bit_of_every_parameter_scalars_too() -> None:
    model = nn.ParameterList([nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.ones(2, 3).T)])
    before = parameter_digest(model)
    assert parameter_digest(model) == before
    for parameter in model:
        with torch.no_grad():
            value = parameter.view(-1)[-1:] if parameter.dim() == 0 else parameter[-1]
            value[-1:] = torch.nextafter(value[-1:], torch.tensor(2.0))
        after = parameter_digest(model)
        assert after != before
        before = after
