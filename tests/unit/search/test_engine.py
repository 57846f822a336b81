"""Budget, cache, history; and a search that was cut off at any moment ends where one that was left alone does."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config.loader import from_mapping
from pipelines.errors import UserError
from pipelines.search import Fitness, Found, Journal, Proposals, Search, SearchConfig, SearchRun, run_searches
from pipelines.search.engine import MOST_IDLE
from tests.unit.search.algorithms import ALGORITHMS, Here, NameTask, by_name, fitness_of, make_config

SEEDS = (1, 2)


@pytest.fixture(autouse=True, scope="module")
def no_disk() -> Iterator[None]:
    """A power cut is not tested here: lines need not be on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


def script(batches: Iterable[list[str]]) -> Callable[[np.random.Generator], Proposals]:
    def propose(_: np.random.Generator) -> Proposals:
        for batch in batches:
            _ = yield batch

    return propose


def run_of(
    propose: Callable[[np.random.Generator], Proposals], seed: int = 1, **changes: object
) -> SearchRun[NameTask]:
    search = Search(propose=propose, config=make_config(**changes))
    return SearchRun(search=search, generator=np.random.default_rng(seed), task=NameTask)


def search_alone(
    folder: Path, run: SearchRun[NameTask], evaluate: Callable[[NameTask], Fitness] = by_name
) -> Found:
    journal = Journal(folder / "journal.jsonl")
    return run_searches({"one": run}, evaluate, Here(), journal, "test")["one"]


def all_algorithms(journal: Journal, evaluate: Callable[[NameTask], Fitness]) -> dict[tuple[str, int], Found]:
    runs = {(name, seed): run_of(ALGORITHMS[name], seed) for name in ALGORITHMS for seed in SEEDS}
    return run_searches(runs, evaluate, Here(), journal, "test")


def test_the_budget_counts_different_networks_and_hits_are_counted(tmp_path: Path) -> None:
    batches = [["a", "b", "a"], ["a", "c"], ["b", "d", "e"], ["f"]]
    judged: list[str] = []

    def evaluate(task: NameTask) -> Fitness:
        judged.append(task.name)
        return fitness_of({"a": 0.25, "b": 0.5, "c": 0.75, "d": 0.75}[task.name])

    found = search_alone(tmp_path, run_of(script(batches), evaluations=4), evaluate)
    assert judged == ["a", "b", "c", "d"]
    assert (found.model, found.num_evaluations, found.num_hits, found.seconds) == ("c", 4, 3, 4.0)
    assert found.history == [
        {
            "generation": generation,
            "num_evaluations": evaluations,
            "num_hits": hits,
            "best_accuracy": best,
            "best_model": model,
            "mean_accuracy": pytest.approx(mean),
        }
        for generation, evaluations, hits, best, model, mean in (
            (0, 2, 1, 0.5, "b", 1 / 3),
            (1, 3, 2, 0.75, "c", 0.5),
            (2, 4, 3, 0.75, "c", 0.625),  # without e, for which the budget has no room
        )
    ]


def test_less_deviation_and_then_fewer_connections_decide_between_equal_accuracies() -> None:
    ordered = [
        fitness_of(0.5, deviation=0.2, multiply_adds=1),
        fitness_of(0.5, deviation=0.1, multiply_adds=9),
        fitness_of(0.5, deviation=0.1, multiply_adds=8, seconds=9.0),
        fitness_of(0.6, deviation=0.5, multiply_adds=99),
    ]
    assert sorted(ordered, key=lambda one: one.rank) == ordered


def test_a_bound_in_seconds_ends_a_search_after_a_generation(tmp_path: Path) -> None:
    batches = [["a", "b"], ["c", "d"], ["e"]]
    assert search_alone(tmp_path, run_of(script(batches), seconds=3.5)).num_evaluations == 4


def test_a_search_that_has_converged_ends(tmp_path: Path) -> None:
    found = search_alone(tmp_path, run_of(script([["a"]] * 99)))
    assert (found.num_evaluations, found.num_hits, len(found.history)) == (1, MOST_IDLE, 1 + MOST_IDLE)


def test_what_two_searches_ask_for_is_judged_once(tmp_path: Path) -> None:
    judged: list[str] = []

    def evaluate(task: NameTask) -> Fitness:
        judged.append(task.name)
        return by_name(task)

    runs = {1: run_of(script([["a", "b"], ["c"]])), 2: run_of(script([["b"], ["a", "d"]]))}
    found = run_searches(runs, evaluate, Here(), Journal(tmp_path / "j"), "test")
    assert sorted(judged) == ["a", "b", "c", "d"]
    assert [one.num_evaluations for one in found.values()] == [3, 3]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_search_spends_its_budget_and_never_loses_its_best(name: str, tmp_path: Path) -> None:
    found = search_alone(tmp_path, run_of(ALGORITHMS[name]))
    assert found.num_evaluations == make_config().evaluations
    best = [row["best_accuracy"] for row in found.history]
    assert best == sorted(best)
    assert found.fitness.accuracy == best[-1] == by_name(NameTask(found.model)).accuracy


def test_evolution_and_swarm_climb_where_there_is_a_slope(tmp_path: Path) -> None:
    """Fitness: the layers of a chain, up to its ten; random search has one chance in eight for each network."""

    def evaluate(task: NameTask) -> Fitness:
        return fitness_of(sum("c" in layer for layer in task.name.split("_")[1:]) / 10)

    for name in ("evolve", "fly"):
        found = search_alone(tmp_path / name, run_of(ALGORITHMS[name], evaluations=150), evaluate)
        means = [float(row["mean_accuracy"]) for row in found.history]
        assert np.mean(means[-3:]) > means[0] + 0.05, name


@pytest.mark.parametrize("num_judged", [0, 1, 40])
def test_an_interrupted_search_ends_like_one_that_was_left_alone(num_judged: int, tmp_path: Path) -> None:
    alone = all_algorithms(Journal(tmp_path / "alone"), by_name)
    judged: list[str] = []

    def interrupted(task: NameTask) -> Fitness:
        if len(judged) == num_judged:
            raise KeyboardInterrupt
        judged.append(task.name)
        return by_name(task)

    with pytest.raises(KeyboardInterrupt):
        all_algorithms(Journal(tmp_path / "journal"), interrupted)
    before = Journal(tmp_path / "journal")
    left = len(before)

    def counted(task: NameTask) -> Fitness:
        judged.append(task.name)
        return by_name(task)

    assert all_algorithms(before, counted) == alone
    assert len(before) == len(set(judged))
    assert len(judged) - len(set(judged)) == num_judged - left  # those of a round that was never written


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), torn=st.binary(max_size=40))
def test_a_journal_that_ends_anywhere_in_anything_leads_to_the_same_end(
    cut: float, torn: bytes, tmp_path: Path
) -> None:
    """A kill leaves whole lines and a part of one; a failing disk leaves anything."""
    whole, part = tmp_path / "whole", tmp_path / "part"

    def search(path: Path, evaluate: Callable[[NameTask], Fitness]) -> Found:
        journal = Journal(path)
        return run_searches({"one": run_of(ALGORITHMS["evolve"])}, evaluate, Here(), journal, "test")["one"]

    if not whole.exists():
        search(whole, by_name)
    alone = search(whole, refuse)
    content = whole.read_bytes()
    part.write_bytes(content[: round(cut * len(content))] + torn)
    assert search(part, by_name) == alone
    assert part.read_bytes().splitlines() == content.splitlines()


def refuse(task: NameTask) -> Fitness:
    raise AssertionError(f"{task.name} was judged again")


def test_a_search_is_a_function_of_its_seed(tmp_path: Path) -> None:
    found = all_algorithms(Journal(tmp_path / "one"), by_name)
    assert all_algorithms(Journal(tmp_path / "two"), by_name) == found
    for name in ALGORITHMS:
        assert len({found[name, seed].model for seed in SEEDS}) == len(SEEDS)


def test_no_progress_is_shown_where_there_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    all_algorithms(Journal(tmp_path / "journal"), by_name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"population": 3}, "search.population: 3 is not allowed; allowed: a whole number of at least 4"),
        ({"evaluations": 0}, "search.evaluations: 0 is not allowed; allowed: a whole number of at least 1"),
        ({"seconds": 0}, "search.seconds: 0.0 is not allowed; allowed: null or a number above 0"),
        ({"rates": []}, "search.rates: [] is not allowed; allowed: different values, at least 1"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(changes: dict[str, object], message: str) -> None:
    entry = {
        "population": 4,
        "evaluations": 9,
        "seconds": None,
        "epochs": 1,
        "train_images": None,
        "rates": [0.1],
        "most_multiply_adds": None,
    }
    with pytest.raises(UserError) as caught:
        from_mapping(SearchConfig, entry | changes, "search")
    assert str(caught.value).startswith(message)


def test_the_proposals_of_a_spent_budget_are_closed(tmp_path: Path) -> None:
    closed = []

    def propose(_: np.random.Generator) -> Proposals:
        try:
            for number in itertools.count():
                yield [str(number)]
        finally:
            closed.append(True)

    search_alone(tmp_path, run_of(propose, evaluations=3))
    assert closed == [True]
