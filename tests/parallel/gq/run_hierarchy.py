"""Four ranks on two hosts: GQ between the hosts, by Horovod's process sets. Prints a line of JSON on rank 0."""

import json
from typing import Any

import horovod.torch as hvd
import torch

from horovod_gq.hierarchy import Hosts
from tests.parallel.gq.common import assert_same_on_all_ranks
from tests.unit.gq.test_hierarchy import FORMS, STEPS, apply, gradients, make, weights


class Calls:
    """Counts the bytes that this rank hands to sums, by the ranks that take part."""

    def __init__(self) -> None:
        self.num_bytes: dict[tuple[int, ...], int] = {}
        inner = hvd.allreduce_async_

        def counted(tensor: torch.Tensor, **arguments: Any) -> int:
            among = tuple(arguments["process_set"].ranks) if "process_set" in arguments else ()
            self.num_bytes[among] = self.num_bytes.get(among, 0) + tensor.numel() * tensor.element_size()
            return int(inner(tensor, **arguments))

        hvd.allreduce_async_ = counted


def main() -> None:
    hvd.init(process_sets="dynamic")
    torch.set_num_threads(1)
    calls, rows = Calls(), []
    for fields in FORMS:
        model, optimizer = make(None, Hosts.of_horovod(), **fields)
        for step in range(STEPS):
            calls.num_bytes.clear()
            apply(model, optimizer, gradients(step, hvd.rank()))
        assert_same_on_all_ranks(weights(model), str(fields))
        sent = hvd.allgather_object({str(among): size for among, size in calls.num_bytes.items()})
        reported = hvd.allgather_object(optimizer.wire_bytes_per_step())
        rows.append({"weights": weights(model).tolist(), "sent": sent, "reported": reported})
    if hvd.rank() == 0:
        print(json.dumps(rows), flush=True)
    hvd.shutdown()


if __name__ == "__main__":
    main()
