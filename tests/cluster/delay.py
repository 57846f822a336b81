"""Hold Ethernet frames back: `python -m tests.cluster.delay ONE OTHER MILLISECONDS` relays between two interfaces.

With an address alone it prints how many milliseconds a connection to that host takes.
"""

import heapq
import selectors
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR = 263, 15
ALL_PROTOCOLS = 3
OWN_FRAMES = 4  # PACKET_OUTGOING: what this machine sends comes back to the socket
LONGEST = 70_000
SSH_PORT = 22


def opened(interface: str) -> socket.socket:
    """Return a socket for all frames of an interface, each with the kernel's header on checksums and segments.

    With that header a frame that is still to be cut into packets, or to get its checksum, is passed on as it is.
    """
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    frames.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    frames.bind((interface, ALL_PROTOCOLS))
    return frames


def relay(one: str, other: str, seconds: float) -> None:
    """Pass frames between the interfaces, each so many seconds after it came, until this process is killed."""
    ends = [opened(one), opened(other)]
    selector = selectors.DefaultSelector()
    for index, end in enumerate(ends):
        selector.register(end, selectors.EVENT_READ, index)
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    print("relaying", flush=True)
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(pause):
            frame, sender = ends[key.data].recvfrom(LONGEST)
            if sender[2] != OWN_FRAMES:
                count += 1
                heapq.heappush(waiting, (time.monotonic() + seconds, count, 1 - key.data, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(waiting)
            ends[target].send(frame)


def connection_milliseconds(address: str, tries: int = 5) -> float:
    """Return the shortest time of some connections to the host's sshd."""
    times = []
    for _ in range(tries):
        begin = time.monotonic()
        with socket.create_connection((address, SSH_PORT)):
            times.append(1000 * (time.monotonic() - begin))
    return min(times)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(connection_milliseconds(sys.argv[1]))
    else:
        relay(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000)
