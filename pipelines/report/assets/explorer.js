// The speed-up explorer: looks a point of the grid up and shows it as a sentence, two plots and a table.
const grid = JSON.parse(document.getElementById("explorer-data").textContent);
const element = (name) => document.getElementById(`explorer-${name}`);
const PLAIN = "sdp";
const HEADINGS = ["method", "predicted, ms", "mean error", "measured, ms", "over one worker", "over plain sums"];

const units = (value, names) => {
  const index = names.findIndex(([size]) => value >= size);
  const [size, name] = names[index];
  return `${value / size} ${name}`;
};
const bandwidthName = (mbit) => units(mbit, [[1000, "Gbit/s"], [1, "Mbit/s"]]);
const latencyName = (us) => units(us, [[1000, "ms"], [1, "µs"]]);
const milliseconds = (value) => `${value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 })} ms`;

function chosen() {
  const [workers, bandwidth, latency] = ["workers", "bandwidth", "latency"].map((name) => Number(element(name).value));
  return { model: element("model").value, workers, bandwidth, latency };
}

// The methods that can run at a point, the fastest first.
function methodsAt({ model, workers, bandwidth, latency }) {
  const stepOf = (method) => grid.steps[model][method][workers]?.[latency][bandwidth];
  const plain = stepOf(PLAIN);
  const count = grid.workers[workers];
  const measured = Object.fromEntries(
    grid.measured
      .filter((row) => row[0] === model && row[2] === count && row[3] === grid.bandwidths_mbit[bandwidth])
      .map((row) => [row[1], row[4]]),
  );
  return Object.keys(grid.steps[model])
    .filter((method) => stepOf(method) !== undefined)
    .map((method) => {
      const { family, uncertainty, same_updates: usual } = grid.methods[method];
      const step = stepOf(method);
      return {
        method, family, uncertainty, usual, step, description: grid.methods[method].description, low: step * (1 - uncertainty), high: step * (1 + uncertainty),
        measured: measured[method] ?? null, gain: plain / step, speedup: (count * grid.one_worker_ms[model]) / step,
        link: bandwidthName(grid.bandwidths_mbit[bandwidth]), bandwidth: grid.bandwidths_mbit[bandwidth],
      };
    })
    .sort((one, other) => one.step - other.step);
}

// As `recommended` of pipelines/speedup/forecast.py: plain sums, unless the gain exceeds what both predictions err.
function recommended(points) {
  const usual = points.filter((point) => point.usual);
  const close = usual.filter((point) => point.step <= usual[0].step * (1 + Math.hypot(usual[0].uncertainty, point.uncertainty)));
  const best = close.find((point) => point.method === PLAIN) ?? usual[0];
  return { best, close: close.filter((point) => point !== best).map((point) => point.method) };
}

function sentence(where, points) {
  const { best, close } = recommended(points);
  const plain = points.find((point) => point.method === PLAIN);
  const start = `Plain sums take ${milliseconds(plain.step)} a step; one worker alone takes ${milliseconds(grid.one_worker_ms[where.model])}.`;
  const others = close.length ? ` The predictions cannot tell it from ${close.join(", ")}.` : "";
  if (best.method === PLAIN) return `${start} No strategy is faster for sure: keep plain sums (${PLAIN}).${others}`;
  const accuracy = close.length ? " Let accuracy decide." : "";
  return `${start} By time alone take ${best.method}: ${milliseconds(best.step)}, ${best.gain.toFixed(2)} times as fast.${others}${accuracy}`;
}

// For every bandwidth the fastest method of each kind.
function curves(where) {
  return grid.bandwidths_mbit.flatMap((_, bandwidth) => {
    const points = methodsAt({ ...where, bandwidth });
    return grid.families.slice(1).flatMap((family) => points.find((point) => point.family === family) ?? []);
  });
}

function fillTable(points) {
  const cells = (point) => [
    point.method, point.step.toLocaleString("en"), `${(100 * point.uncertainty).toFixed(0)} %`,
    point.measured?.toLocaleString("en") ?? "–", `${point.speedup.toFixed(2)}×`, `${point.gain.toFixed(2)}×`,
  ];
  element("rows").replaceChildren(...points.map((point) => {
    const row = document.createElement("tr");
    row.setAttribute("role", "row");
    cells(point).forEach((text, index) => {
      const cell = row.insertCell();
      cell.setAttribute("role", "cell");
      cell.textContent = text;
      cell.dataset.label = HEADINGS[index];
      if (index) cell.className = "number";
    });
    return row;
  }));
}

// Draws the plots once, with their first data, and then only their data anew.
let views;
const chosenLink = (where) => [{ bandwidth: grid.bandwidths_mbit[where.bandwidth], even: 1 }];
async function plot(where, points) {
  const data = { points, curves: curves(where), chosen: chosenLink(where) };
  if (!views) {
    const draw = (name) => drawPlot(element(name), { ...grid.panels[name], datasets: data });
    views = { steps: await draw("steps"), links: await draw("links") };
    return;
  }
  await views.steps.data("points", points).runAsync();
  await views.links.data("curves", data.curves).data("chosen", data.chosen).runAsync();
}

function show() {
  const where = chosen();
  const points = methodsAt(where);
  const workers = grid.workers[where.workers];
  const names = {
    workers: String(workers),
    bandwidth: bandwidthName(grid.bandwidths_mbit[where.bandwidth]),
    latency: latencyName(grid.latencies_microseconds[where.latency]),
  };
  Object.entries(names).forEach(([name, text]) => {
    element(`${name}-value`).textContent = text;
    element(name).setAttribute("aria-valuetext", text);
  });
  element("answer").textContent = sentence(where, points);
  element("caption").textContent = `${where.model}, ${workers} workers, ${names.bandwidth}, ${names.latency}; predicted, but for the measured column.`;
  const reasons = Object.entries(grid.impossible).filter(([, by]) => by[workers]).map(([method, by]) => `${method}: ${by[workers]}`);
  element("impossible").textContent = reasons.length ? `Cannot run: ${reasons.join("; ")}.` : "";
  fillTable(points);
  return plot(where, points);
}

window.explorerShown = show();
element("controls").addEventListener("input", () => { explorerShown = explorerShown.then(show); });
element("controls").addEventListener("submit", (event) => event.preventDefault());
window.explorer = { chosen, methodsAt, recommended };
