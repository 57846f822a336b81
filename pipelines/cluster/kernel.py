"""The Linux calls that Python 3.11 does not wrap."""

import ctypes
import os
from pathlib import Path

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>
NEW_MOUNT_NAMESPACE = 0x00020000
NEW_UTS_NAMESPACE = 0x04000000
NEW_NETWORK_NAMESPACE = 0x40000000
BIND = 4096
CAP_AMBIENT = 47
CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")


def unshare(namespaces: int) -> None:
    """Move this process into new namespaces, an or of the NEW_ constants (unshare(2)).

    Raises:
        OSError: the kernel does not allow it.
    """
    _check(_libc.unshare(namespaces), "unshare")


def mount(source: str, target: Path, kind: str, options: str = "") -> None:
    """Mount a new file system of `kind` on the folder `target` (mount(2))."""
    arguments = (source.encode(), bytes(target), kind.encode(), 0, options.encode())
    _check(_libc.mount(*arguments), f"mount {kind} on {target}")


def bind(source: Path, target: Path) -> None:
    """Show the file `source` in place of the existing file `target` (a bind mount)."""
    _check(_libc.mount(bytes(source), bytes(target), None, BIND, None), f"bind {source} on {target}")


def drop_ambient_capabilities() -> None:
    """Let the next exec leave this process without capabilities, unless it is root (prctl(2))."""
    _check(_libc.prctl(CAP_AMBIENT, CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
