// The claims' search, the charts, and opening a folded cell that a link leads to.

function searchClaims() {
  const box = document.getElementById("claims-search");
  if (!box) return;
  const rows = [...document.querySelectorAll("#claims tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = document.getElementById("claims-count");
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, k) => {
      row.hidden = !words.every((word) => texts[k].includes(word));
      shown += !row.hidden;
    });
    count.textContent = `${shown} claims`;
  });
}

function openLinked() {
  const here = document.getElementById(location.hash.slice(1));
  if (!here || !here.classList.contains("claims-here")) return;
  const next = (here.closest("p") || here).nextElementSibling;
  const folded = next && next.querySelector("details");
  if (folded) folded.open = true;
  here.scrollIntoView();
}

function chartTheme(dark) {
  const ink = dark ? "#e6e6e6" : "#222", faint = dark ? "#555" : "#ddd";
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: faint },
    axis: { labelColor: ink, titleColor: ink, gridColor: faint, domainColor: faint, tickColor: faint },
    legend: { labelColor: ink, titleColor: ink },
    header: { labelColor: ink, titleColor: ink },
    title: { color: ink, subtitleColor: ink },
    text: { color: ink },
  };
}

// "width": "page" in a specification is what the page has for it, axes aside.
function fitted(part, width) {
  if (Array.isArray(part)) return part.map((value) => fitted(value, width));
  if (part === null || typeof part !== "object") return part;
  return Object.fromEntries(
    Object.entries(part).map(([key, value]) => [key, key === "width" && value === "page" ? width : fitted(value, width)]),
  );
}

// The landscape: steepest ascent of V in the logits of a softmax of two actions in each state, on the published grid of values.

function surface(rows) {
  const grid = rows.filter((row) => row.part === "surface");
  const n = Math.round(Math.sqrt(grid.length));
  const value = new Float64Array(n * n);
  for (const row of grid) value[Math.round(row.x_0 * (n - 1)) * n + Math.round(row.x_1 * (n - 1))] = row.value;
  return (x, y) => {
    const i = Math.min(Math.floor(x * (n - 1)), n - 2), j = Math.min(Math.floor(y * (n - 1)), n - 2);
    const u = x * (n - 1) - i, v = y * (n - 1) - j;
    const [a, b, c, d] = [value[i * n + j], value[(i + 1) * n + j], value[i * n + j + 1], value[(i + 1) * n + j + 1]];
    return a * (1 - u) * (1 - v) + b * u * (1 - v) + c * (1 - u) * v + d * u * v;
  };
}

function ascent(height, start) {
  const share = (logit) => 1 / (1 + Math.exp(-logit));
  const slope = (f, x, h = 1 / 60) => (f(Math.min(x + h, 1)) - f(Math.max(x - h, 0))) / (Math.min(x + h, 1) - Math.max(x - h, 0));
  const logits = start.map((x) => Math.log(x / (1 - x)));
  const path = [];
  for (let step = 0; step <= 4000; step++) {
    const [x, y] = logits.map(share);
    if (step % 10 === 0) path.push({ step, x_0: x, x_1: y, value: height(x, y) });
    logits[0] += 0.1 * x * (1 - x) * slope((z) => height(z, y), x);
    logits[1] += 0.1 * y * (1 - y) * slope((z) => height(x, z), y);
  }
  return path;
}

function landscape(place, view) {
  const height = surface(view.data("landscape"));
  const said = place.parentNode.querySelector(".chart-result") || place.insertAdjacentElement("afterend", document.createElement("p"));
  said.className = "chart-result";
  said.setAttribute("role", "status");
  const climb = () => {
    const path = ascent(height, [view.signal("x0"), view.signal("x1")]);
    const tell = (row) => `(${row.x_0.toFixed(2)}, ${row.x_1.toFixed(2)}), worth ${row.value.toFixed(2).replace("-", "−")}`;
    said.textContent = `From ${tell(path[0])}, the ascent comes to ${tell(path.at(-1))}.`;
    return view.data("path", path).runAsync();
  };
  view.addSignalListener("x0", climb);
  view.addSignalListener("x1", climb);
  view.addEventListener("click", (event) => {
    const box = view.container().querySelector("canvas").getBoundingClientRect();
    const [left, top] = view.origin();
    const within = (x) => Math.min(Math.max(x, 0.02), 0.98);
    view.signal("x0", within(view.scale("x").invert(event.clientX - box.left - left)));
    view.signal("x1", within(view.scale("y").invert(event.clientY - box.top - top)));
    view.runAsync();
  });
  return climb();
}

async function drawCharts() {
  const views = {};
  const dark = document.documentElement.dataset.theme === "dark";
  for (const place of document.querySelectorAll(".chart")) {
    const width = Math.min(place.parentNode.clientWidth, 720) - 110;
    const specification = fitted(JSON.parse(document.getElementById(place.dataset.spec).textContent), width);
    const { view } = await window.vegaEmbed(place, specification, { actions: false, config: chartTheme(dark), renderer: "canvas" });
    if (place.id === "landscape") await landscape(place, view);
    views[place.id] = view;
  }
  window.charts = views;
  document.dispatchEvent(new CustomEvent("charts"));
}

function charts() {
  if (!document.querySelector(".chart")) return;
  const start = () => {
    drawCharts();
    new MutationObserver(drawCharts).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      drawCharts();
    });
  };
  if (window.vegaEmbed) start();
  else window.addEventListener("vega", start, { once: true });
}

searchClaims();
openLinked();
window.addEventListener("hashchange", openLinked);
charts();
