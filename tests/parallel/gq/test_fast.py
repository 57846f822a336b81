from tests.parallel.launch import horovodrun


def test_fast_path_on_two_ranks() -> None:
    output = horovodrun("tests/parallel/gq/run_fast.py")
    assert "checks passed" in output, output
