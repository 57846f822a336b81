"""What a launched run says of a rank that died, fell silent or is late; real ranks: tests/parallel/worker."""

from collections.abc import Callable

import pytest

from pipelines.errors import UserError
from pipelines.parallel.run import horovodrun
from pipelines.parallel.run.failure import Output
from pipelines.parallel.run.heartbeat import LEAVES, Limits, Watch

LIMITS = Limits(silence_warning=10, silence_error=20, stall_warning=5, stall_error=30)
HOSTS = "node0:2,node1:1"


def failed(*lines: str, status: int = 1) -> str:
    output = Output(HOSTS)
    for line in lines:
        output.add(f"{line}\n")
    with pytest.raises(UserError) as caught:
        horovodrun.check_status(status, "net-gq4", output)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_killed_rank_is_named_with_its_host(capsys: pytest.CaptureFixture[str]) -> None:
    message = failed(
        "[0]<stdout>:epoch 1",
        "Process 2 exit with status code 137.",
        "Terminating remaining workers after failure of Process 2.",
        "Process 0 exit with status code 143.",
    )
    assert message.startswith("net-gq4: rank 2 on node1 was killed (SIGKILL")
    assert "goes on after the last epoch" in message
    assert capsys.readouterr().err == ""


def test_ranks_that_were_told_to_end_are_not_blamed() -> None:
    lines = [
        f"Process {rank} exit with status code {status}." for rank, status in ((0, 143), (2, 255), (1, 1))
    ]
    assert failed(*lines).startswith("net-gq4: rank 2 on node1 was killed or its connection broke")


def test_a_rank_that_lost_another_one_is_not_blamed() -> None:
    victim = "[0]<stderr>:error: net-gq4: rank 0 has lost another rank: Connection closed by peer"
    seen_first = (victim, "Process 0 exit with status code 1.")
    assert failed(*seen_first, "Process 1 exit with status code 137.").startswith(
        "net-gq4: rank 1 on node0 was killed"
    )
    assert "rank 2 on node1 was killed or its" in failed(*seen_first, "Process 2 exit with status code 143.")
    assert failed(*seen_first).startswith(
        "net-gq4: rank 0 has lost another rank: Connection closed by peer; the same"
    )
    assert failed(*seen_first, "[1]<stderr>:error: the loss became nan") == "the loss became nan"


def test_a_defect_shows_the_last_lines_of_its_rank_only(capsys: pytest.CaptureFixture[str]) -> None:
    message = failed(
        "[1]<stderr>:ZeroDivisionError: division by zero",
        "[0]<stderr>:another rank",
        "Process 1 exit with status code 1.",
    )
    assert message == "net-gq4: rank 1 on node0 ended with status 1; its last lines stand above"
    assert capsys.readouterr().err == "--- rank 1, last lines:\nZeroDivisionError: division by zero\n"


def test_a_worker_s_own_line_comes_first() -> None:
    lines = ["Process 1 exit with status code 1.", "[1]<stderr>:error: the data are damaged"]
    assert failed(*lines) == "the data are damaged"


def watched() -> tuple[Watch, list[str]]:
    ended: list[str] = []
    watch = Watch(LIMITS, Output(HOSTS).name_of, lambda: ended.append("ended"))
    return watch, ended


def ticks(watch: Watch, count: int, signs: Callable[[int], dict[int, tuple[str, str]]]) -> None:
    """Let `count` seconds pass, in each of which the ranks give the signs that `signs` returns."""
    for second in range(count):
        for rank, state in signs(second).items():
            watch.heard(rank, state)
        watch.tick()


def test_a_silent_rank_is_named_then_the_job_ends(capsys: pytest.CaptureFixture[str]) -> None:
    watch, ended = watched()
    ticks(watch, 3, lambda second: {0: (str(second), "0"), 2: (str(second), "0")})
    ticks(watch, 9, lambda second: {0: (str(second), "0")})
    assert capsys.readouterr().err == "warning: rank 2 on node1 gave no sign of life for 10 s\n"
    ticks(watch, 9, lambda second: {0: (str(100 + second), "0")})
    assert (watch.failure, ended) == (None, [])
    ticks(watch, 5, lambda second: {0: (str(200 + second), "0")})
    assert watch.failure == (
        "rank 2 on node1 gave no sign of life for 20 s: stopped, or the host or its link is down"
    )
    assert ended == ["ended"]
    output = Output(HOSTS)
    output.silence = watch.failure
    with pytest.raises(UserError, match=r"net-gq4: rank 2 on node1 .* goes on after the last epoch"):
        horovodrun.check_status(0, "net-gq4", output)


def test_a_rank_that_comes_back_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watch, ended = watched()
    for start in (0, 50):
        ticks(watch, 1, lambda second: {1: (str(start + second), "0")})  # noqa: B023 - called at once
        ticks(watch, 15, lambda _: {})
    ticks(watch, 1, lambda _: {1: ("99", "0")})
    warning, back = (
        "warning: rank 1 on node0 gave no sign of life for 10 s\n",
        "rank 1 on node0 is there again\n",
    )
    assert capsys.readouterr().err == (warning + back) * 2
    assert (watch.failure, ended) == (None, [])


def test_a_rank_that_has_left_is_not_missed(capsys: pytest.CaptureFixture[str]) -> None:
    """Rank 0 may send models to a slow store for long after the others have ended."""
    watch, ended = watched()
    ticks(watch, 1, lambda _: {0: ("9", "0"), 1: ("9", "1")})
    ticks(watch, 1, lambda _: {1: ("9", LEAVES)})
    ticks(watch, 100, lambda _: {0: ("9", "0")})
    assert (capsys.readouterr().err, watch.failure, ended) == ("", None, [])


def test_a_living_rank_that_lets_the_others_wait_is_late(capsys: pytest.CaptureFixture[str]) -> None:
    watch, ended = watched()
    ticks(watch, 8, lambda _: {0: ("7", "1"), 1: ("7", "0"), 2: ("7", "1")})
    assert capsys.readouterr().err == "warning: rank 1 on node0 is alive but let the others wait for 5 s\n"
    ticks(watch, 25, lambda _: {0: ("7", "1"), 1: ("7", "0"), 2: ("7", "1")})
    assert watch.failure == "rank 1 on node0 is alive but let the others wait for 30 s"
    assert ended == ["ended"]


@pytest.mark.parametrize(
    "signs",
    [
        lambda second: {0: (str(second // 4), "1"), 1: (str(second // 4), "0")},  # slow, but steps are made
        lambda second: {0: ("7", "0"), 1: ("7", "0")},  # all evaluate
        lambda second: {0: ("7", "1"), 1: ("7", "1")},  # a long transfer: nobody is late
        lambda second: {0: ("7", str(second % 2)), 1: ("7", "0")},
    ],
)
def test_slow_is_not_late(
    signs: Callable[[int], dict[int, tuple[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    watch, ended = watched()
    ticks(watch, 100, signs)
    assert (capsys.readouterr().err, watch.failure, ended) == ("", None, [])
