"""The report in a real browser: one page for a wide screen, one for a phone in the dark, both for many checks."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.speedup.command import answer, parse
from tests.browser import CHROMIUM, Visit, chromium

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)

LEAST_CONTRAST, LEAST_GRAPHIC_CONTRAST = 4.5, 3.0
"""WCAG 2.2, success criteria 1.4.3 (text) and 1.4.11 (graphics)."""
RATIO = """
  const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
"""
TEXT_CONTRASTS = f"""() => {{ {RATIO}
  const behind = (node) => {{
    for (let each = node; each; each = each.parentElement) {{
      const color = numbers(getComputedStyle(each).backgroundColor);
      if (color[3] === undefined || color[3] === 1) return color;
    }}
    return numbers(getComputedStyle(document.body).backgroundColor);
  }};
  const found = [];
  for (const node of document.querySelectorAll("body *")) {{
    const text = [...node.childNodes].filter((each) => each.nodeType === 3).map((each) => each.data.trim()).join("");
    if (!text || ["SCRIPT", "STYLE"].includes(node.tagName) || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const color = node instanceof SVGElement ? style.fill : style.color;
    found.push([ratio(numbers(color), behind(node)), text.slice(0, 40)]);
  }}
  return found;
}}"""
GRAPHIC_CONTRASTS = f"""() => {{ {RATIO}
  const resolve = (name) => {{
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(${{name}})`;
    const found = numbers(getComputedStyle(probe).color);
    probe.remove();
    return found;
  }};
  const names = ["--plain", ...Array.from({{ length: 8 }}, (_, index) => `--series-${{index + 1}}`)];
  const page = resolve("--page");
  // Numbers stand on cells whose opacity is at most 0.4.
  const cell = (color) => color.map((value, index) => 0.4 * value + 0.6 * page[index]);
  return {{
    graphics: names.map((name) => [ratio(resolve(name), page), name]),
    numbers: names.map((name) => [ratio(resolve("--ink"), cell(resolve(name))), name]),
  }};
}}"""
OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
CONTROLS = ("model", "workers", "bandwidth", "latency")


@pytest.fixture(scope="module")
def visits(page: Path) -> Iterator[dict[str, Visit]]:
    """The page at 1,200 pixels, and in the dark at 390, everything unfolded and drawn."""
    with chromium() as browser:
        found = {
            "wide": Visit(browser, page, 1200, color_scheme="light"),
            "phone": Visit(browser, page, 390, color_scheme="dark"),
        }
        for visit in found.values():
            unfold(visit)
        yield found


def unfold(visit: Visit) -> None:
    """Wait until all is drawn, and open what is folded."""
    visit.page.evaluate("pagePlots.then(() => explorerShown).then(() => true)")
    visit.page.evaluate(OPEN_ALL)


@pytest.fixture(scope="module")
def wide(visits: dict[str, Visit]) -> Visit:
    return visits["wide"]


@pytest.fixture(params=["wide", "phone"])
def visit(visits: dict[str, Visit], request: pytest.FixtureRequest) -> Visit:
    return visits[request.param]


def test_nothing_is_asked_of_the_network_and_nothing_complained_of(visit: Visit) -> None:
    assert len(visit.requests) >= 1
    assert visit.external() == []
    assert visit.complaints == []


def test_nothing_scrolls_sideways(visit: Visit) -> None:
    assert not visit.overflows()


def test_every_plot_is_drawn(visit: Visit) -> None:
    counts = visit.page.evaluate(
        "[...document.querySelectorAll('.chart')].map((each) => each.querySelectorAll('svg .mark-group path, svg "
        ".mark-symbol path, svg .mark-rect path, svg .mark-line path, svg .mark-rule line').length)"
    )
    assert len(counts) > 20
    assert min(counts) >= 3


def test_text_and_graphics_have_contrast_in_light_and_dark(visit: Visit) -> None:
    texts = visit.page.evaluate(TEXT_CONTRASTS)
    assert len(texts) > 500
    assert [each for each in texts if each[0] < LEAST_CONTRAST] == []
    found = visit.page.evaluate(GRAPHIC_CONTRASTS)
    assert [each for each in found["graphics"] if each[0] < LEAST_GRAPHIC_CONTRAST] == []
    assert [each for each in found["numbers"] if each[0] < LEAST_CONTRAST] == []


def test_light_and_dark_differ(visits: dict[str, Visit]) -> None:
    colors = [
        visit.page.evaluate("getComputedStyle(document.body).backgroundColor") for visit in visits.values()
    ]
    assert colors[0] == "rgb(255, 255, 255)"
    assert colors[1] != colors[0]


def test_the_page_can_be_read_aloud(wide: Visit) -> None:
    levels = wide.page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => Number(each.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ask = "[...document.querySelectorAll('{}')].every((each) => {})"
    assert wide.page.evaluate(ask.format("table", "each.caption?.textContent.trim()"))
    assert wide.page.evaluate(ask.format(".chart", "each.getAttribute('aria-label')?.length > 20"))
    assert wide.page.evaluate(ask.format("img", "each.alt"))
    assert wide.page.evaluate(ask.format("input, select", "each.labels.length"))
    assert wide.page.evaluate(ask.format("nav a", "document.querySelector(each.hash)"))


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(wide: Visit) -> None:
    controls = "a[href], input, select, summary"
    wide.page.reload()  # other tests move the focus
    unfold(wide)
    everything = wide.page.evaluate(f"document.querySelectorAll('{controls}').length")
    wide.page.evaluate("document.activeElement.blur()")
    reached, seen = (
        set(),
        """() => {
      const each = document.activeElement, style = getComputedStyle(each);
      return [[...document.querySelectorAll('CONTROLS')].indexOf(each), style.outlineStyle, style.outlineWidth];
    }""".replace("CONTROLS", controls),
    )
    for _ in range(everything):
        wide.page.keyboard.press("Tab")
        index, style, width = wide.page.evaluate(seen)
        assert (style, width) == ("solid", "3px")
        reached.add(index)
    assert reached == set(range(everything))


def shown(visit: Visit) -> dict[str, Any]:
    """Return what the explorer says and draws, when it is done."""
    found: dict[str, Any] = visit.page.evaluate(
        """explorerShown.then(() => ({
          answer: document.getElementById("explorer-answer").textContent,
          table: [...document.getElementById("explorer-rows").rows].map((row) => [...row.cells].map((c) =>
            c.innerText)),
          steps: document.querySelector("#explorer-steps svg").innerHTML,
          links: document.querySelector("#explorer-links svg").innerHTML,
          values: [...document.querySelectorAll("#explorer-controls output")].map((each) => each.textContent),
        }))"""
    )
    return found


@pytest.mark.parametrize("control", CONTROLS)
def test_the_explorer_follows_every_control_by_keyboard(wide: Visit, control: str) -> None:
    wide.page.reload()  # to where nothing stands at its end
    unfold(wide)
    before = shown(wide)
    wide.page.locator(f"#explorer-{control}").focus()
    wide.page.keyboard.press("ArrowDown" if control == "model" else "ArrowRight")
    after = shown(wide)
    for part in ("answer", "table", "steps", "links"):
        assert after[part] != before[part], part
    assert (after["values"] != before["values"]) == (control != "model")


def choose(visit: Visit, model: str, workers: str, bandwidth: str, latency: str) -> None:
    """Set the controls as a reader would, and check what they show."""
    visit.page.locator("#explorer-model").select_option(model)
    for name, text in (("workers", workers), ("bandwidth", bandwidth), ("latency", latency)):
        slider = visit.page.locator(f"#explorer-{name}")
        slider.press("Home")
        for _ in range(int(slider.get_attribute("max") or 0)):
            if slider.get_attribute("aria-valuetext") == text:
                break
            slider.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == text


@pytest.mark.parametrize(
    ("model", "workers", "bandwidth", "latency"),
    [("vgg16_bn", "2", "100 Mbit/s", "25 µs"), ("densenet50", "16", "25 Gbit/s", "1 ms")],
)
def test_the_explorer_answers_as_the_command_does(
    wide: Visit, model: str, workers: str, bandwidth: str, latency: str
) -> None:
    choose(wide, model, workers, bandwidth, latency)
    network = [
        "--workers", workers,
        "--bandwidth", bandwidth.lower().removesuffix("/s").replace(" ", ""),
        "--latency", latency.replace("µ", "u").replace(" ", ""),
    ]  # fmt: skip
    told = json.loads(answer(parse(["predict", "--model", model, *network, "--json"])))
    table = shown(wide)["table"]
    assert [row[0] for row in table] == [row["method"] for row in told["methods"]]
    for row, expected in zip(table, told["methods"], strict=True):
        assert float(row[1].replace(",", "")) == pytest.approx(1e3 * expected["step_seconds"], rel=5e-4)
        # Two digits behind the point, from steps of four significant digits.
        assert float(row[5].rstrip("×")) == pytest.approx(expected["over_reference"], rel=1e-3, abs=0.006)
    advice = wide.page.evaluate("explorer.recommended(explorer.methodsAt(explorer.chosen()))")
    assert (advice["best"]["method"], advice["close"]) == (told["recommended"], told["not_told_apart"])
    impossible = wide.page.locator("#explorer-impossible").inner_text()
    assert all(method in impossible for method in told["impossible"])
    assert bool(impossible) == bool(told["impossible"])


def test_measured_points_are_those_of_the_sweep(wide: Visit, results: Path) -> None:
    choose(wide, "densenet100", "2", "1 Gbit/s", "25 µs")
    rows = json.loads((results / "sweep/sweep.json").read_text())
    cell = {
        row["method"]: row["step_seconds_median"]
        for row in rows
        if (row["model"], row["workers"], row["link"]) == ("densenet100", 2, "1gbit")
    }
    told = {row[0]: float(row[3].replace(",", "")) for row in shown(wide)["table"] if row[3] != "–"}
    assert told.keys() == cell.keys() & {row[0] for row in shown(wide)["table"]}
    assert len(told) > 10
    for method, step in told.items():
        assert step == pytest.approx(1e3 * cell[method], rel=5e-4)
    assert wide.page.locator("#explorer-steps svg .mark-symbol path").count() == len(told)


def test_paper_shows_every_plot_and_what_was_folded(visits: dict[str, Visit]) -> None:
    """Printed from the dark page on a phone: paper is white, and as wide as paper is."""
    page = visits["phone"].page
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
    page.set_viewport_size({"width": 720, "height": 1000})
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    boxes = page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map((each) => each.getBoundingClientRect()).map((box) => "
        "[box.left, box.right, box.height])"
    )
    assert len(boxes) == page.locator(".chart").count()
    assert all(left >= 0 and right <= 721 and height > 50 for left, right, height in boxes)
    assert not visits["phone"].overflows()
    assert page.evaluate("[...document.querySelectorAll('details')].every((each) => each.open)")
    assert not page.locator("#explorer-controls").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate("[...document.querySelectorAll('details')].some((each) => each.open)")
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 390, "height": 800})
    page.evaluate(OPEN_ALL)
