"""What the emulated cluster needs from the machine, checked before anything is made."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from pipelines.errors import UserError

# Packages of Debian and Ubuntu.
PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
# The account that OpenSSH gives up root's rights to (configure: --with-privsep-user).
SSHD_USER = "sshd"
# Users' PATH often lacks these two, where ip, tc and sshd live.
SYSTEM_FOLDERS = "/usr/sbin:/sbin"
# Each node has a folder of its own here, as a machine that has just booted; the host's is hidden in the nodes.
HIDDEN_FOLDER = Path("/run")
LOCALHOST = "runs on localhost need none of it"


def search_path() -> str:
    """Return PATH with the folders of system programs."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), SYSTEM_FOLDERS])


def program(name: str) -> str:
    """Return the full path of the program `name`; UserError names the package that brings it."""
    path = shutil.which(name, path=search_path())
    if path is None:
        raise UserError(
            f"program {name!r} is missing: the emulated cluster needs the package {PACKAGES[name]} "
            f"(apt-get install {PACKAGES[name]}); {LOCALHOST}"
        )
    return path


def unshare_command() -> list[str]:
    """Return the command that runs a program as the first process of namespaces of its own.

    Root needs no user namespace. A user gets one in which they keep their name and hold every capability.
    When `unshare` ends, the program does; when the program ends, the kernel ends every process in there.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    return [program("unshare"), *user, "--mount", "--net", "--pid", "--fork", "--kill-child"]


def check() -> None:
    """Raise UserError, in one line, where this machine cannot carry an emulated cluster."""
    if sys.platform != "linux":
        raise UserError(f"the emulated cluster needs Linux, this is {sys.platform}; {LOCALHOST}")
    for name in PACKAGES:
        program(name)
    _check_sshd_user()
    for path in (Path.cwd(), Path(sys.prefix)):
        if path.resolve().is_relative_to(HIDDEN_FOLDER):
            raise UserError(
                f"{path} lies under {HIDDEN_FOLDER}, which emulated nodes do not see: move it elsewhere"
            )
    probe = [*unshare_command(), program("ip"), "link", "add", "name", "gqb-probe", "type", "bridge"]
    result = subprocess.run(probe, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"status {result.returncode}"])[-1]
        raise UserError(f"{_denied(reason)}; {LOCALHOST}")


def _check_sshd_user() -> None:
    """Raise UserError where root's sshd would end at once: it lets an account of its own read from the network."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(SSHD_USER)
    except KeyError:
        raise UserError(
            f"sshd is there, but not its system user {SSHD_USER!r}: install the package {PACKAGES['sshd']} anew "
            f"(apt-get install --reinstall {PACKAGES['sshd']}), or add the user (useradd --system --no-create-home "
            f"--home-dir /run/sshd --shell /usr/sbin/nologin {SSHD_USER}); {LOCALHOST}"
        ) from None


def _denied(reason: str) -> str:
    if os.geteuid() == 0:
        return (
            f"root may not make network namespaces and bridges here ({reason}): "
            "in a container, start it with --cap-add SYS_ADMIN --cap-add NET_ADMIN, or --privileged"
        )
    return (
        f"the emulated cluster needs root, or a kernel that lets users make user namespaces and bridges "
        f"in them; this one does not ({reason})"
    )
