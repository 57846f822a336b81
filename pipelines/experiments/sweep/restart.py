"""Start Horovod anew in processes that have used it, at a rendezvous of its own.

A rendezvous server of Horovod 0.28 keeps addresses of the first start where the ranks ended it at different times: when
any of its scopes is complete it forgets who had finished the others. A rank that starts again before the other one
then connects to a port that is closed, which ends its process.
"""

import os
import socket

import horovod.torch as hvd
import psutil
from horovod.runner.http.http_server import RendezvousServer

from pipelines.cluster.node import INTERFACE

_servers: list[RendezvousServer] = []
"""Those that this process has started; they serve until it ends."""


def restart_horovod(cycle_milliseconds: float) -> None:
    """Shut Horovod down and start it again with this period of its negotiation (a collective).

    Nothing may be under way. Mutates the process's environment, which Horovod reads at every start.
    """
    settings = {"HOROVOD_CYCLE_TIME": str(cycle_milliseconds)}
    if hvd.rank() == 0:
        server = RendezvousServer()
        settings["HOROVOD_GLOO_RENDEZVOUS_PORT"] = str(server.start())
        settings["HOROVOD_GLOO_RENDEZVOUS_ADDR"] = address_of(INTERFACE)
        _servers.append(server)
    os.environ |= hvd.broadcast_object(settings, root_rank=0, name="restart.settings")
    hvd.shutdown()
    hvd.init()


def address_of(interface: str) -> str:
    """Return the IPv4 address of a network interface of this machine; raises StopIteration where it has none."""
    found = psutil.net_if_addrs()[interface]
    return next(each.address for each in found if each.family == socket.AF_INET)
