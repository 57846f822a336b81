"""Elastic runs: workers come and go, and the fast path follows. Needs Horovod; import this module by itself."""

from __future__ import annotations

import copy
from typing import Any

import horovod.torch as hvd
from horovod.common.exceptions import HostsUpdatedInterrupt
from horovod.torch.elastic.state import StateHandler

from horovod_gq.optimizer import DistributedOptimizer


class TorchState(hvd.elastic.TorchState):  # type: ignore[misc]
    """`hvd.elastic.TorchState` in which a `horovod_gq.DistributedOptimizer` follows the workers; used like that one."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for name, handler in self._handlers.items():
            if isinstance(handler.value, DistributedOptimizer):
                self._handlers[name] = _OptimizerHandler(handler.value)

    def sync(self) -> None:
        """Give all ranks rank 0's state and the present workers' buckets, and commit."""
        super().sync()
        self.save()

    def check_host_updates(self) -> None:
        """Interrupt where workers came or went; Horovod would skip `sync` where they only went."""
        try:
            super().check_host_updates()
        except HostsUpdatedInterrupt:
            raise HostsUpdatedInterrupt(skip_sync=False) from None


class _OptimizerHandler(StateHandler):  # type: ignore[misc]
    def save(self) -> None:
        self._saved = copy.deepcopy(self.value.state_dict())

    def restore(self) -> None:
        self.value.load_state_dict(self._saved)

    def sync(self) -> None:
        self.value.follow_workers()
        shared = {key: value for key, value in self.value.state_dict().items() if key != "gq"}
        self.value.load_state_dict(hvd.broadcast_object(shared, root_rank=0))
