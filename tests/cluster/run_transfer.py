"""One end of a raw TCP transfer: `receive ADDRESS PORT BYTES`, or `send ...`, which prints the seconds it took."""

import socket
import sys
import time


def receive(address: str, port: int, num_bytes: int) -> None:
    with socket.create_server((address, port)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
        with connection:
            left = num_bytes
            while left:
                left -= len(connection.recv(min(left, 1 << 20)))
            connection.sendall(b"x")


def send(address: str, port: int, num_bytes: int) -> None:
    with socket.create_connection((address, port)) as connection:
        start = time.perf_counter()
        connection.sendall(bytes(num_bytes))
        connection.recv(1)
        print(time.perf_counter() - start)


if __name__ == "__main__":
    {"receive": receive, "send": send}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
