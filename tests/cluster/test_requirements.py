"""What a machine lacks, a user's wrong values and the counters; needs neither root nor namespaces."""

import subprocess
from pathlib import Path

import pytest

from pipelines.cluster import ClusterSpec, EmulatedCluster, read_interface_bytes, requirements
from pipelines.cluster.spec import parse_rate
from pipelines.errors import UserError

TABLE = """\
Inter-|   Receive                            |  Transmit
 face |bytes packets (and six more columns)  |bytes packets (and six more columns)
    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0
  eth0: 123456 20 0 0 0 0 0 0 7890 40 0 0 0 0 0 0
"""


@pytest.mark.parametrize(("name", "package"), sorted(requirements.PACKAGES.items()))
def test_a_missing_program_is_named_with_its_package(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for other in requirements.PACKAGES.keys() - {name}:
        (tmp_path / other).touch(mode=0o755)
    monkeypatch.setattr(requirements, "search_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match=f"'{name}' is missing.* package {package} ") as error:
        requirements.check()
    assert "\n" not in str(error.value)


def test_sshd_without_its_system_user_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(requirements, "program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(requirements.pwd, "getpwnam", unknown)
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
    with pytest.raises(
        UserError, match=r"system user 'sshd': .*apt-get install --reinstall openssh-server"
    ) as error:
        requirements.check()
    assert "\n" not in str(error.value)


def test_a_kernel_that_refuses_is_reported_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(
            command, 1, "", "unshare: unshare failed: Operation not permitted\n"
        )

    monkeypatch.setattr(requirements, "program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(requirements, "_check_sshd_user", lambda: None)
    monkeypatch.setattr(requirements.subprocess, "run", refuse)
    with pytest.raises(UserError, match=r"Operation not permitted.*localhost") as error:
        requirements.check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("rate", "bits"), [("100mbit", 10**8), ("2.5gbit", 2.5e9), ("1000kbit", 10**6)])
def test_rates_are_powers_of_ten(rate: str, bits: float) -> None:
    assert parse_rate(rate) == bits


@pytest.mark.parametrize(
    "rate", ["", "mbit", "100", "100mb", "nanmbit", "1e3mbit", "-1mbit", "200gbit", "1kbit"]
)
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(UserError, match="no link rate"):
        EmulatedCluster(rate=rate)


@pytest.mark.parametrize(
    ("workers", "hosts"),
    [
        (1, "node0:1"),
        (2, "node0:1,node1:1"),
        (3, "node0:1,node1:1,node2:1"),
        (4, "node0:2,node1:1,node2:1"),
        (None, "node0:2,node1:2,node2:2"),
    ],
)
def test_workers_are_spread_over_the_nodes(workers: int | None, hosts: str) -> None:
    assert ClusterSpec(nodes=3, rate=None, slots_per_node=2, mtu=9000).hosts(workers) == hosts


def test_counters_are_read_by_column(tmp_path: Path) -> None:
    table = tmp_path / "dev"
    table.write_text(TABLE, encoding="ascii")
    assert read_interface_bytes("eth0", table) == (123456, 7890)
    with pytest.raises(ValueError, match="'eth1' does not exist; here are lo, eth0"):
        read_interface_bytes("eth1", table)
