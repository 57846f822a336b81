"""Hierarchical exchange on real Horovod ranks: four of them, on two names of this machine."""

import json
from pathlib import Path

import torch

from tests.parallel.launch import TWO_HOSTS, horovodrun
from tests.unit.gq.test_hierarchy import FORMS, STEPS, apply, gradients, make, run_hosts, weights

LEADERS = str((0, 2))
SCRIPT = Path(__file__).with_name("run_hierarchy.py")


def test_it_is_the_virtual_one_bit_for_bit_and_only_leaders_send_between_hosts() -> None:
    output = horovodrun(SCRIPT, np=4, hosts=TWO_HOSTS.format(2))
    rows = json.loads(next(line for line in output.splitlines() if "weights" in line).partition(">:")[2])
    for fields, row in zip(FORMS, rows, strict=True):

        def virtual(everyone, hosts, fields=fields):  # type: ignore[no-untyped-def]
            model, optimizer = make(everyone, hosts, **fields)
            for step in range(STEPS):
                apply(model, optimizer, gradients(step, everyone.rank))
            return weights(model)

        assert torch.equal(torch.tensor(row["weights"]), run_hosts(2, 2, virtual)[0])
        between = [sent.get(LEADERS, 0) for sent in row["sent"]]
        if fields.get("exchange") is None:  # sums alone
            assert between == row["reported"]
            assert between[0] == between[2] > 0
        assert row["reported"][1] == row["reported"][3] == 0
        assert between[1] == between[3] == 0
        # fp32 in and out, inside the host.
        inside = [sum(size for among, size in sent.items() if among != LEADERS) for sent in row["sent"]]
        assert min(inside) >= 2 * 4 * len(row["weights"])
