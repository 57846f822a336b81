"""Keys and settings of the nodes' ssh, in a folder that only the cluster sees."""

import os
import pwd
import subprocess
from pathlib import Path

from pipelines.cluster.requirements import HIDDEN_FOLDER, program
from pipelines.cluster.spec import ClusterSpec

FOLDER = HIDDEN_FOLDER / "gqbench"
# Comes first in the nodes' PATH: horovodrun calls plain `ssh`.
WRAPPERS = FOLDER / "bin"
# Tells the processes of a run from those of others, on every node: ssh hands it on.
RUN_VARIABLE = "GQBENCH_CLUSTER_RUN"

SSHD_CONFIG = """\
Port 22
ListenAddress {address}
HostKey {folder}/host_key
PidFile {folder}/{name}.pid
AuthorizedKeysFile {folder}/user_key.pub
AllowUsers {user}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
# Root is the only account there is where root makes the cluster; nothing outside reaches this address.
PermitRootLogin prohibit-password
# bash reads the user's ~/.bashrc for an ssh command unless it is a shell within a shell.
SetEnv SHLVL=2
AcceptEnv {run_variable}
# In a user namespace / belongs to nobody, which these checks would refuse.
StrictModes no
UsePAM no
UseDNS no
PermitUserRC no
PrintMotd no
PrintLastLog no
X11Forwarding no
AllowTcpForwarding no
# horovodrun opens a connection a worker at once.
MaxStartups 200
MaxSessions 200
"""

# -F makes ssh read this instead of the user's and the system's settings: known_hosts of the user stays as it is.
SSH_CONFIG = """\
Host *
  User {user}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  SendEnv {run_variable}
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  LogLevel ERROR
  # An idle connection never learns that its host is gone, and Horovod elastic waits for what it started there. A
  # link that is down for less costs time only.
  ServerAliveInterval 15
  ServerAliveCountMax 4
"""


def write_ssh_files(spec: ClusterSpec) -> None:
    """Make host and user keys, the settings of both sides and the `ssh` wrapper; writes to FOLDER."""
    for key in ("host_key", "user_key"):
        command = [
            program("ssh-keygen"),
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "gqbench",
            "-f",
            str(FOLDER / key),
        ]
        subprocess.run(command, check=True)
    host_key = (FOLDER / "host_key.pub").read_text(encoding="ascii")
    names = ",".join([*spec.node_names, *(spec.address(index) for index in range(spec.nodes))])
    (FOLDER / "known_hosts").write_text(f"{names} {host_key}", encoding="ascii")
    values = {"user": user_name(), "folder": FOLDER, "run_variable": RUN_VARIABLE}
    (FOLDER / "ssh_config").write_text(SSH_CONFIG.format(**values), encoding="utf-8")
    for index, name in enumerate(spec.node_names):
        text = SSHD_CONFIG.format(**values, name=name, address=spec.address(index))
        (FOLDER / f"{name}.sshd_config").write_text(text, encoding="utf-8")
    WRAPPERS.mkdir()
    wrapper = WRAPPERS / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {program("ssh")} -F {FOLDER}/ssh_config "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)


def user_name() -> str:
    """Return the name of the account that makes the cluster and logs in to its nodes."""
    return pwd.getpwuid(os.getuid()).pw_name


def sshd_command(name: str) -> list[str]:
    """Return the command that serves ssh on the node `name` in the foreground; it logs to FOLDER."""
    return [program("sshd"), "-D", "-f", str(FOLDER / f"{name}.sshd_config"), "-E", str(log_file(name))]


def log_file(name: str) -> Path:
    """Return where the sshd of the node `name` writes its messages."""
    return FOLDER / f"{name}.log"


def pid_file(name: str) -> Path:
    """Return the file that the sshd of the node `name` writes once it listens."""
    return FOLDER / f"{name}.pid"
