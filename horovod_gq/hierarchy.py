"""Hierarchical exchange: sums in fp32 inside a host, GQ between the hosts alone.

The first worker of each host leads: it alone takes part in GQ's exchange, with the mean of its host, and tells the
others the average. So GQ's levels are those of as many workers as there are hosts, and its bytes pass a host's link
once, however many workers it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from horovod_gq.backend import HorovodCollectives, load_horovod
from horovod_gq.collectives import Collectives, Pending
from horovod_gq.exchange import Exchange, NamedShape

__all__ = ["Hosts"]


@dataclass
class Hosts:
    """The workers by host, equally many on each."""

    local: Collectives
    """Of the workers of this host; rank 0 leads."""
    between: Collectives
    """Of the leaders; of the other workers only `rank` and `workers` are read, which are those of their leader."""
    waiting: list[tuple[HierarchicalExchange, int]] = field(default_factory=list)
    """Messages whose sum inside the host is under way, with their slots."""

    @property
    def leads(self) -> bool:
        """Whether this worker takes part in the exchange between the hosts."""
        return self.local.rank == 0

    def send_waiting(self) -> None:
        """Wait for the sums inside the host, in their order, and start the exchanges between the hosts."""
        while self.waiting:
            exchange, slot = self.waiting.pop(0)
            exchange.send(slot)

    @classmethod
    def of_horovod(cls) -> Hosts:
        """Return the hosts of this Horovod job (a collective: call it on all workers, once).

        Raises:
            ValueError: unlike numbers of workers on the hosts, or Horovod was started without dynamic process sets.
        """
        hvd = load_horovod()
        places = hvd.allgather_object((hvd.cross_rank(), hvd.local_rank()), name="gq.hosts")
        per_host: dict[int, dict[int, int]] = {}
        for rank, (host, place) in enumerate(places):
            per_host.setdefault(host, {})[place] = rank
        sizes = sorted({len(ranks) for ranks in per_host.values()})
        if len(sizes) > 1:
            raise ValueError(
                f"the hosts have {sizes} workers; a hierarchical exchange needs equally many on each"
            )
        groups = [sorted(ranks.values()) for ranks in per_host.values()]
        leaders = [group[0] for group in groups]
        local = [HorovodCollectives.among(group) for group in groups]
        between = HorovodCollectives.among(leaders)
        own = next(number for number, group in enumerate(groups) if hvd.rank() in group)
        between.rank = own
        return cls(local[own], between)


class HierarchicalExchange:
    """A message of `inner`, which lives between the leaders; `flat` and `views` are those of `inner`.

    With one host the mean of its workers is the average, and `inner` does nothing. An exchange between the hosts
    starts when the next bucket is complete, and the last one after the backward pass: by then the sum inside the host
    is there. Results inside a host are sums to which only the leader contributes.
    """

    def __init__(
        self, name: str, tensors: list[NamedShape], inner: Exchange, hosts: Hosts, num_slots: int
    ) -> None:
        self._name, self._names, self._inner, self._hosts = name, [n for n, _ in tensors], inner, hosts
        self.flat, self.views = inner.flat, inner.views
        self._alone = hosts.between.workers == 1
        self.bytes_per_step = inner.bytes_per_step if hosts.leads and not self._alone else 0
        self.collectives_per_step = 1 if self._alone else inner.collectives_per_step + 2
        self._messages = [torch.empty_like(inner.flat) for _ in range(num_slots)]
        self._pending: dict[int, Pending] = {}
        self._left: dict[int, int] = {}
        """Calls of `advance` until the average travels inside the host, by slot."""

    def start(self, slot: int, gradients: torch.Tensor | None = None) -> None:
        """Start the sum inside the host, and the exchange of the buckets before this one between the hosts."""
        self._hosts.send_waiting()
        self._start_local(slot, "in", self.flat if gradients is None else gradients)
        self._left[slot] = 1 if self._alone else self._inner.collectives_per_step + 1
        self._hosts.waiting.append((self, slot))

    def send(self, slot: int) -> None:
        """Wait for the sum inside the host and start the exchange between the hosts."""
        total = self._pending.pop(slot).wait()
        self._left[slot] -= 1
        torch.div(total, self._hosts.local.workers, out=self.flat)
        if self._hosts.leads and not self._alone:
            self._inner.start(slot)

    def advance(self, slot: int) -> None:
        """Take the next step of the message: between the hosts, or back inside this one."""
        left = self._left[slot]
        if (self, slot) in self._hosts.waiting:
            self._hosts.send_waiting()
        elif left > 1:
            self._left[slot] -= 1
            if self._hosts.leads:
                self._inner.advance(slot)
        elif left == 1:
            self._left[slot] = 0
            self._tell(slot)

    def finish(self, slot: int) -> None:
        """Wait and write the average into `flat`."""
        while self._left[slot]:
            self.advance(slot)
        if not self._alone:
            self.flat.copy_(self._pending.pop(slot).wait())

    def failures(self) -> list[str]:
        """Names of the tensors of the last `finish` that are not finite on some rank."""
        if bool(torch.isfinite(self.flat).all()):
            return []
        return [
            n for n, view in zip(self._names, self.views, strict=True) if not bool(torch.isfinite(view).all())
        ]

    def state_dict(self) -> dict[str, dict[str, object]]:
        """State by tensor name; of workers that do not lead, the state at the start."""
        return self._inner.state_dict()

    def load_state(self, tensors: dict[str, dict[str, object]]) -> None:
        """Take over a state that has been checked."""
        self._inner.load_state(tensors)

    def _tell(self, slot: int) -> None:
        """Start telling the host the average; NaN in a tensor that is not finite on some rank."""
        if self._hosts.leads:
            self._inner.finish(slot)
            failed = self._inner.failures()
            for name, view in zip(self._names, self.views, strict=True):
                if name in failed:
                    view.fill_(float("nan"))
        else:
            self.flat.zero_()
        self._start_local(slot, "out", self.flat)

    def _start_local(self, slot: int, way: str, values: torch.Tensor) -> None:
        message, local = self._messages[slot].copy_(values), self._hosts.local
        name = f"{self._name}.{way}.{slot}"
        self._pending[slot] = local.start_sum(message, name) if local.workers > 1 else _Arrived(message)


class _Arrived:
    """The sum of a host's only worker."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def wait(self) -> torch.Tensor:
        return self._tensor
