// The map: points on a canvas, the sentence under the pointer, and an event where one is clicked.
// Gradio runs this with `element`, `props`, `trigger` and `watch`. Texts become text nodes only.

const canvas = element.querySelector("canvas");
const tip = element.querySelector(".tip");
const choices = element.querySelector(".choices");
const legend = element.querySelector(".legend");
const PALETTE = ["#2b63a8", "#cf6a1b", "#2d8a5f", "#a8447f", "#8a6d1d", "#5b5fc7",
                 "#b23a3a", "#4c7f8c", "#7a8b99", "#c48fb8", "#6f9e3a", "#333b47"];
const MARGIN = 18, REACH = 22;

let data = JSON.parse(JSON.stringify(props.value));
let near = [];
let colouring = Object.keys(data.colours)[0];
let hovered = -1;
let places = [];

function style(name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

function ramp(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[0], high = sorted[Math.floor(0.98 * (sorted.length - 1))];
  const share = value => (high > low ? Math.min(1, (value - low) / (high - low)) : 0);
  return { low, high, share };
}

function colourOf(share) {
  return `color-mix(in oklab, ${style("--map-high")} ${Math.round(100 * share)}%, ${style("--map-low")})`;
}

function painter() {
  const values = data.colours[colouring];
  if (typeof values[0] === "number") {
    const { low, high, share } = ramp(values);
    legend.replaceChildren(text(format(low)), swatch("linear-gradient(90deg, " +
      [0, 0.25, 0.5, 0.75, 1].map(colourOf).join(", ") + ")", "ramp"), text(format(high)));
    const steps = Array.from({ length: 17 }, (_, i) => colourOf(i / 16));
    return i => steps[Math.round(16 * share(values[i]))];
  }
  const names = [...new Set(values)].sort();
  legend.replaceChildren(...names.flatMap((name, i) => [swatch(PALETTE[i % 12]), text(name)]));
  return i => PALETTE[names.indexOf(values[i]) % 12];
}

function format(value) {
  if (typeof value !== "number") return value;
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}

function text(words) {
  const span = document.createElement("span");
  span.textContent = words;
  return span;
}

function swatch(background, kind) {
  const mark = document.createElement("i");
  mark.style.background = background;
  if (kind) mark.className = kind;
  return mark;
}

function draw() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (width === 0) return; // its tab is not shown
  const sharp = window.devicePixelRatio || 1;
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  const pen = canvas.getContext("2d");
  pen.scale(sharp, sharp);
  const xs = data.points.map(p => p[0]), ys = data.points.map(p => p[1]);
  const middle = all => (Math.min(...all) + Math.max(...all)) / 2;
  const spread = Math.max(
    (Math.max(...xs) - Math.min(...xs)) / (width - 2 * MARGIN),
    (Math.max(...ys) - Math.min(...ys)) / (height - 2 * MARGIN), 1e-9);
  const [cx, cy] = [middle(xs), middle(ys)];
  places = data.points.map(([x, y]) =>
    [width / 2 + (x - cx) / spread, height / 2 - (y - cy) / spread]);
  const paint = painter();
  pen.globalAlpha = near.length ? 0.4 : 0.8;
  places.forEach(([x, y], i) => dot(pen, x, y, 3, paint(i)));
  pen.globalAlpha = 1;
  near.forEach(i => { dot(pen, ...places[i], 4.5, paint(i)); ring(pen, ...places[i], 6.5); });
  if (hovered >= 0) { dot(pen, ...places[hovered], 4.5, paint(hovered)); ring(pen, ...places[hovered], 7); }
}

function dot(pen, x, y, radius, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fill();
}

function ring(pen, x, y, radius) {
  pen.strokeStyle = style("--body-text-color");
  pen.lineWidth = 1.25;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.stroke();
}

function nearest(event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = -1, least = REACH ** 2;
  places.forEach(([px, py], i) => {
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [best, least] = [i, distance];
  });
  return best;
}

function hover(i) {
  if (i === hovered) return;
  hovered = i;
  tip.hidden = i < 0;
  canvas.style.cursor = i < 0 ? "default" : "pointer";
  if (i >= 0) {
    const told = Object.entries(data.colours).map(([name, v]) => `${name} ${format(v[i])}`);
    tip.replaceChildren(text(data.texts[i]), text(told.join(" · ")));
    const left = Math.min(Math.max(places[i][0] - 170, 0), canvas.clientWidth - 340);
    tip.style.left = `${Math.max(0, left)}px`;
    const under = places[i][1] < canvas.clientHeight / 2;
    tip.style.top = under ? `${places[i][1] + 14}px` : "auto";
    tip.style.bottom = under ? "auto" : `${canvas.clientHeight - places[i][1] + 14}px`;
  }
  draw();
}

function ask(i) {
  if (i < 0) return;
  trigger("ask", { position: i });
}

canvas.addEventListener("mousemove", event => hover(nearest(event)));
canvas.addEventListener("mouseleave", () => hover(-1));
canvas.addEventListener("blur", () => hover(-1));
canvas.addEventListener("click", event => ask(nearest(event)));
canvas.addEventListener("keydown", event => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    const from = hovered < 0 && step < 0 ? 0 : hovered; // back from none is the last one
    hover((from + step + places.length) % places.length);
  } else if (event.key === "Enter") ask(hovered);
});

for (const name of Object.keys(data.colours)) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.setAttribute("aria-pressed", String(name === colouring));
  button.addEventListener("click", () => {
    colouring = name;
    for (const other of choices.children) {
      other.setAttribute("aria-pressed", String(other.textContent === name));
    }
    draw();
  });
  choices.append(button);
}

watch("near", () => { near = [...(props.near || [])]; draw(); });
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
