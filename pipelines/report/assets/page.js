// Draws every plot of the page; `pagePlots` is fulfilled when all are there.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const options = { renderer: "svg", actions: false, defaultStyle: false, config: read("plot-config") };

// Vega names a plot by its description alone.
window.drawPlot = async (box, spec) => {
  const description = box.getAttribute("aria-label");
  const { view } = await vegaEmbed(box, { ...spec, description }, options);
  return view.logLevel(1); // errors: a network on which nothing was measured has no extent of measured steps
};
window.pagePlots = Promise.all([...document.querySelectorAll("[data-plot]")].map((box) => drawPlot(box, read(box.dataset.plot))));

// Paper cannot be opened: print what is folded, and fold it again.
const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...folded()]; opened.forEach((each) => { each.open = true; }); });
addEventListener("afterprint", () => { opened.forEach((each) => { each.open = false; }); });
