"use strict";
// Draws the figures one after another, so that the page is there at once; again when the browser turns dark or light.
let page = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 600px)");

function layoutOf(chart) {
  const layout = structuredClone(chart.layout);
  layout.template = page.templates[dark.matches ? "dark" : "light"];
  layout.margin = { l: 64, r: 16, t: 36, b: 56, ...layout.margin };
  layout.margin.t = 36;
  layout.autosize = true;
  if (narrow.matches) {
    // A finger that scrolls the page must not zoom the figure that it meets.
    layout.dragmode = false;
    layout.margin = { ...layout.margin, l: 48, r: 6 };
    layout.font = { size: 10 };
  }
  return layout;
}

function dataOf(chart) {
  const data = structuredClone(chart.data);
  for (const trace of data) {
    const bar = trace.colorbar || (trace.marker && trace.marker.colorbar);
    if (bar && narrow.matches) Object.assign(bar, { thickness: 7, title: { text: "" }, xpad: 2 });
  }
  return data;
}

async function draw() {
  for (const [at, chart] of page.charts.entries()) {
    const place = document.getElementById("chart-" + at);
    await Plotly.react(place, dataOf(chart), layoutOf(chart), {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow.matches ? false : "hover",
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
      toImageButtonOptions: { format: "svg" },
    });
    await new Promise((next) => setTimeout(next));
  }
  document.body.dataset.drawn = page.charts.length;
}

dark.addEventListener("change", draw);
narrow.addEventListener("change", draw);
draw();

// A page that is served shows what is new without being loaded again, and keeps its place.
const SECONDS = 5;
let tag = null;

async function look() {
  const status = document.getElementById("live");
  try {
    const answer = await fetch(location.href, { cache: "no-cache" });
    if (!answer.ok) throw new Error(answer.status);
    const fresh = answer.headers.get("ETag");
    if (tag !== null && fresh !== tag) {
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelectorAll(".chart").forEach((chart) => Plotly.purge(chart));
      page = JSON.parse(next.getElementById("data").textContent);
      document.querySelector("main").replaceWith(next.querySelector("main"));
      await draw();
    }
    tag = fresh;
    status.textContent = "live, as of " + new Date().toLocaleTimeString();
    delete status.dataset.lost;
  } catch {
    status.textContent = "tlsweep does not answer any more; this is what was known then";
    status.dataset.lost = "";
  }
  setTimeout(look, 1000 * SECONDS);
}

if (page.live) look();
