"""What the pictures show: every generation, and every layer and shortcut of a network."""

from pathlib import Path

from pipelines.models.searched.diagram import diagram_of
from pipelines.results import Row
from pipelines.search.pictures import draw_network, draw_search


def test_a_chain_has_a_box_for_every_layer() -> None:
    diagram = diagram_of("chain_c3m16s1_p2s2max_p3s1avg_f128")
    assert diagram is not None
    assert diagram.boxes == (
        "image",
        "3x3 convolution, 16 maps",
        "2x2 maximum pooling, stride 2",
        "3x3 average pooling",
        "fully connected, 128",
        "linear to the classes",
    )
    assert diagram.shortcuts == ()
    assert diagram_of("densenet22") is None


def test_blocks_have_an_arc_for_every_shortcut() -> None:
    diagram = diagram_of("blocks_2k6x5_1k8x1")  # 101: (0, 1) and (1, 2) of (0, 1), (0, 2), (1, 2)
    assert diagram is not None
    assert diagram.boxes == (
        "image",
        "3x3 convolution, 32 maps",
        "block 1, layer 1: 6 maps",
        "block 1, layer 2: 6 maps",
        "transition to half the maps",
        "block 2, layer 1: 8 maps",
        "average, linear to the classes",
    )
    # The stem to layer 2 and layer 1 to the transition; the transition to the end.
    assert diagram.shortcuts == ((1, 3), (2, 4), (4, 6))


def test_pictures_are_written_and_the_same_again(tmp_path: Path) -> None:
    rows: list[Row] = [
        {
            "variant": v,
            "seed": s,
            "num_evaluations": 5 * n,
            "best_accuracy": 0.1 * n,
            "mean_accuracy": 0.05 * n,
        }
        for v in ("a", "b")
        for s in (1, 2)
        for n in (1, 2, 3)
    ]
    diagram = diagram_of("blocks_2k6x5_1k8x1")
    assert diagram is not None
    for name in ("one", "two"):
        draw_search(rows, tmp_path / f"{name}-search.svg")
        draw_network(diagram, "found", tmp_path / f"{name}-network.svg")
    for what in ("search", "network"):
        assert (tmp_path / f"one-{what}.svg").read_bytes() == (tmp_path / f"two-{what}.svg").read_bytes()
    text = (tmp_path / "one-network.svg").read_text()
    assert all(box in text for box in diagram.boxes)
