from tests.parallel.launch import horovodrun


def test_stock_optimizer_with_groups_on_two_ranks() -> None:
    output = horovodrun("tests/parallel/gq/run_grouped.py")
    assert "checks passed" in output, output
