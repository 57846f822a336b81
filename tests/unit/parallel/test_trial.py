"""The tournament of plans: who has a turn when, who drops out, who wins."""

from collections.abc import Callable

import pytest

from pipelines.parallel.trial import NUM_SETTLING, Trial


def play(trial: Trial, seconds_of: Callable[[int, bool], float]) -> list[int]:
    """Play to the end with one worker; `seconds_of` gets the plan and whether it settles. Returns the turns."""
    turns: list[int] = []
    settling = NUM_SETTLING
    while not trial.over:
        plan = trial.plan
        if not turns or turns[-1] != plan:
            turns.append(plan)
            settling = NUM_SETTLING
        round_over = trial.record(seconds_of(plan, settling > 0))
        settling -= 1
        if round_over:
            trial.end_round(trial.scores())
            settling = NUM_SETTLING
    return turns


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("fastest", [0, 1, 2])
def test_the_fastest_plan_wins(rounds: int, fastest: int) -> None:
    trial = Trial(3, rounds, steps=2)
    play(trial, lambda plan, settles: 1.0 if plan == fastest else 1.1)
    assert trial.plan == fastest


def test_a_lossier_plan_must_be_worth_it() -> None:
    for advantage, winner in [(0.997, 0), (0.98, 1)]:
        trial = Trial(2, rounds=2, steps=2)
        play(trial, lambda plan, settles, advantage=advantage: advantage if plan else 1.0)  # type: ignore[misc]
        assert trial.plan == winner


def test_a_slow_plan_has_one_turn_only() -> None:
    trial = Trial(3, rounds=3, steps=1)
    turns = play(trial, lambda plan, settles: [1.0, 2.0, 1.05][plan])
    # The second cycle runs backwards, from the plan that the first one ended with; and so on.
    assert turns == [0, 1, 2, 0, 2, 0, 2, 0, 2]


def test_a_slow_cycle_is_no_plans_fault() -> None:
    trial = Trial(2, rounds=3, steps=1)
    # The first plan is faster by a tenth in every cycle, but five of seven cycles are slow, and drift.
    factors = [1.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.0]
    turns = 0

    def seconds_of(plan: int, settles: bool) -> float:
        nonlocal turns
        factor = factors[turns // (2 * (NUM_SETTLING + 1))]
        turns += 1
        return factor * [0.9, 1.0][plan]

    play(trial, seconds_of)
    assert trial.plan == 0


def test_settling_steps_do_not_count() -> None:
    trial = Trial(2, rounds=1, steps=3)
    play(trial, lambda plan, settles: 1000.0 * (1 - plan) if settles else [1.0, 2.0][plan])
    assert trial.plan == 0


def test_one_slow_step_does_not_decide() -> None:
    trial = Trial(2, rounds=1, steps=3)
    steps = iter([0.0, 0.0, 1.0, 50.0, 1.0, 0.0, 0.0, 2.0, 2.0, 2.0])
    play(trial, lambda plan, settles: next(steps))
    assert trial.plan == 0


def test_rounds_get_longer_and_end_early_with_one_plan_left() -> None:
    trial = Trial(2, rounds=3, steps=2)
    lengths = [0, 0, 0]
    for number in range(3):
        while not trial.record(1.0):
            lengths[number] += 1
        lengths[number] += 1
        trial.end_round([1.0, 1.0])
    assert lengths == [2 * cycles * (NUM_SETTLING + 2) for cycles in (1, 2, 4)]
    early = Trial(2, rounds=3, steps=1)
    play(early, lambda plan, settles: [1.0, 2.0][plan])
    assert (early.over, early.plan) == (True, 0)


def test_what_the_workers_agreed_on_decides() -> None:
    trial = Trial(2, rounds=1, steps=1)
    while not trial.record([1.0, 2.0][trial.plan]):
        pass
    assert trial.scores() == pytest.approx([2 / 3, 4 / 3])
    trial.end_round([3.0, 2.0])
    assert trial.plan == 1
