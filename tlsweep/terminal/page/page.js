"use strict";
// Draws each figure when it comes near the window, so that a page of many opens as fast as one of few (plotly.js itself
// takes a second, each figure a tenth), and those that are drawn again when the browser turns dark or light.
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

async function draw(place) {
  const chart = page.charts[place.dataset.chart];
  await Plotly.react(place, dataOf(chart), layoutOf(chart), {
    responsive: true,
    displaylogo: false,
    displayModeBar: narrow.matches ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg" },
  });
  place.dataset.drawn = "";
}

function drawAll(which) {
  document.querySelectorAll(".chart" + which).forEach(draw);
}

const near = new IntersectionObserver(
  (places) => {
    for (const { target } of places.filter((place) => place.isIntersecting)) {
      near.unobserve(target);
      setTimeout(() => target.isConnected && draw(target)); // one after another: the page stays in motion
    }
  },
  { rootMargin: "50%" },
);

function watch() {
  near.disconnect();
  document.querySelectorAll(".chart").forEach((place) => near.observe(place));
}

dark.addEventListener("change", () => drawAll("[data-drawn]"));
narrow.addEventListener("change", () => drawAll("[data-drawn]"));
addEventListener("beforeprint", () => drawAll(":not([data-drawn])"));
watch();

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
      watch();
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
