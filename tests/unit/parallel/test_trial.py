"""The tournament of plans: who has a turn when, who drops out, who wins."""

import math
from collections.abc import Callable

import pytest

from pipelines.parallel.formats.trial import FIRST_SETTLING, SETTLING, Trial, midmean


def play(trial: Trial, steps: int, seconds_of: Callable[[int, bool], float]) -> list[int]:
    """Play to the end with one worker; `seconds_of` gets the plan and whether it settles.

    Returns the plans of the turns, of two in one go once.
    """
    turns: list[int] = []
    settled: set[int] = set()
    while not trial.over:
        plan = trial.plan
        if not turns or turns[-1] != plan:
            turns.append(plan)
        settling = SETTLING if plan in settled else FIRST_SETTLING
        settled.add(plan)
        for number in range(settling + steps):
            round_over = trial.record(seconds_of(plan, number < settling))
        if round_over:
            trial.go_on(trial.scores(), trial.spent)
    return turns


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("fastest", [0, 1, 2])
def test_the_fastest_plan_wins(rounds: int, fastest: int) -> None:
    trial = Trial(3, rounds, steps=2, seconds=0)
    play(trial, 2, lambda plan, settles: 1.0 if plan == fastest else 1.1)
    assert trial.plan == fastest


def test_a_lossier_plan_must_be_worth_it() -> None:
    for advantage, winner in [(0.997, 0), (0.98, 1)]:
        trial = Trial(2, rounds=2, steps=2, seconds=0)
        play(trial, 2, lambda plan, settles, advantage=advantage: advantage if plan else 1.0)  # type: ignore[misc]
        assert trial.plan == winner


def test_a_slow_plan_has_one_turn_only() -> None:
    trial = Trial(3, rounds=3, steps=1, seconds=0)
    turns = play(trial, 1, lambda plan, settles: [1.0, 2.0, 1.05][plan])
    # The second cycle runs backwards, from the plan that the first one ended with; and so on.
    assert turns == [0, 1, 2, 0, 2, 0, 2, 0, 2]


def test_a_slow_cycle_is_no_plans_fault() -> None:
    trial = Trial(2, rounds=3, steps=1, seconds=0)
    # The first plan is faster by a tenth in every cycle, but five of seven cycles are slow, and drift.
    factors = [1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0]
    timed = 0

    def seconds_of(plan: int, settles: bool) -> float:
        nonlocal timed
        factor = factors[timed // 2]
        timed += not settles
        return factor * [0.9, 1.0][plan]

    play(trial, 1, seconds_of)
    assert trial.plan == 0


def test_settling_steps_do_not_count() -> None:
    trial = Trial(2, rounds=1, steps=3, seconds=0)
    play(trial, 3, lambda plan, settles: 1000.0 * (1 - plan) if settles else [1.0, 2.0][plan])
    assert trial.plan == 0


def test_one_slow_step_does_not_decide() -> None:
    trial = Trial(2, rounds=1, steps=3, seconds=0)
    settling = [0.0] * FIRST_SETTLING
    steps = iter([*settling, 1.0, 50.0, 1.0, *settling, 2.0, 2.0, 2.0])
    play(trial, 3, lambda plan, settles: next(steps))
    assert trial.plan == 0


def test_rounds_get_longer_and_end_early_with_one_plan_left() -> None:
    trial = Trial(2, rounds=3, steps=2, seconds=0)
    lengths = [0, 0, 0]
    for number in range(3):
        while not trial.record(1.0):
            lengths[number] += 1
        lengths[number] += 1
        trial.go_on([1.0, 1.0], trial.spent)
    assert lengths == [2 * (FIRST_SETTLING + 2), 4 * (SETTLING + 2), 8 * (SETTLING + 2)]
    early = Trial(2, rounds=3, steps=1, seconds=0)
    play(early, 1, lambda plan, settles: [1.0, 2.0][plan])
    assert (early.over, early.plan) == (True, 0)


def test_what_the_workers_agreed_on_decides() -> None:
    trial = Trial(2, rounds=1, steps=1, seconds=0)
    while not trial.record([1.0, 2.0][trial.plan]):
        pass
    assert trial.scores() == pytest.approx([2 / 3, 4 / 3])
    trial.go_on([3.0, 2.0], trial.spent)
    assert trial.plan == 1


@pytest.mark.parametrize(
    ("seconds", "cycles"),
    # The first cycle of two plans takes 2 x (FIRST_SETTLING + 1) = 8 steps of a second, the others 4.
    [(0.0, [1, 2]), (8.0, [1, 2]), (9.0, [2, 3]), (12.0, [2, 3]), (16.0, [3, 4]), (24.5, [6, 7])],
)
def test_the_first_round_fills_its_time_and_the_others_follow(seconds: float, cycles: list[int]) -> None:
    trial = Trial(2, rounds=2, steps=1, seconds=seconds)
    turns = play(trial, 1, lambda plan, settles: 1.0)
    # Plans that meet at the end of a cycle have two turns in one go.
    assert trial.spent == 8.0 + 4.0 * (sum(cycles) - 1)
    assert len(turns) == sum(cycles) + 1


def test_the_time_that_the_workers_agreed_on_decides_how_long_the_first_round_is() -> None:
    trial = Trial(2, rounds=1, steps=1, seconds=18.0)
    while not trial.record(1.0):
        pass
    trial.go_on(trial.scores(), spent=9.0)  # 8 on this worker
    for _ in range(2 * (SETTLING + 1)):
        assert not trial.over
        due = trial.record(1.0)
    assert due, "two cycles, not three"
    trial.go_on(trial.scores(), spent=18.0)
    assert trial.over


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0], 1.5),
        ([90.0, 1.0, 2.0], 2.0),
        ([1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 90.0], 14 / 3),
    ],
)
def test_the_middle_half_makes_the_score(values: list[float], expected: float) -> None:
    assert midmean(values) == expected


def test_a_plan_that_is_surely_slower_drops_out_early() -> None:
    noise = [0.0, 0.002, -0.002]

    def cycles_left_after(slower: float, known: bool) -> int:
        trial = Trial(2, rounds=4, steps=1, seconds=0)
        for _ in range(2):
            turn = 0
            while True:
                plan = trial.plan
                if trial.record((1.0 + slower * plan) * (1.0 + noise[(turn // 7 + plan) % 3])):
                    break
                turn += 1
            trial.go_on(trial.scores(), trial.spent, trial.errors() if known else None)
        return len(trial.left)

    # Three cycles: a twentieth is within the wide margin of 0.2 / sqrt(3), but 25 times the noise.
    assert cycles_left_after(0.05, known=False) == 2
    assert cycles_left_after(0.05, known=True) == 1


@pytest.mark.parametrize(
    ("advantage", "error", "over"),
    # 9.92 is the t quantile of 99.5 % with 2 degrees of freedom, and a difference has 1.41 times a score's error:
    # 0.001 + 0.014 is below 0.02, 0.01 + 0.014 and 0.001 + 0.028 are not.
    [(0.001, 0.001, True), (0.01, 0.001, False), (0.001, 0.002, False)],
)
def test_the_trial_ends_when_all_that_are_left_are_surely_close(
    advantage: float, error: float, over: bool
) -> None:
    trial = Trial(2, rounds=7, steps=1, seconds=0)
    for errors in ([math.inf] * 2, [error] * 2):
        while not trial.record(1.0 - advantage * trial.plan):
            pass
        # All cycles are equal here; the workers agreed on what they know of the noise.
        assert trial.errors() == ([math.inf] * 2 if errors[0] == math.inf else [0.0, 0.0])
        trial.go_on(trial.scores(), trial.spent, errors)
    assert trial.over is over
    assert trial.plan == 0 or not over, "of close ones the least lossy"
