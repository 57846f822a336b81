from tests.parallel.launch import horovodrun


def test_stock_optimizer_on_two_ranks() -> None:
    output = horovodrun("tests/parallel/gq/run_stock.py")
    assert "checks passed" in output, output
