// Line charts and bars, drawn as SVG by these few lines.

import { make, number } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 132;
const MARGIN = { top: 10, right: 10, bottom: 20, left: 40 };
const N_TICKS = 3;

function draw(tag, attributes, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** Return a round step of 1, 2 or 5 times a power of ten, so that `n` of them cover `span`. */
export function roundStep(span, n) {
  const raw = span / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
}

/** Lines over the last `seconds`, newest at the right. */
export class LineChart {
  #figure;
  #svg;
  #legend;
  #options;
  #series = [];

  /**
   * `options`: title, unit, digits, seconds, names (one of each line), fromZero.
   */
  constructor(options) {
    this.#options = { digits: 0, seconds: 120, fromZero: true, ...options };
    this.#svg = draw("svg", { class: "chart", role: "img", height: String(HEIGHT) });
    this.#legend = make("ul", { class: "legend" });
    const { title, unit } = this.#options;
    const caption = make(
      "figcaption",
      {},
      make("b", {}, title),
      make("span", {}, unit),
      this.#legend,
    );
    this.#figure = make("figure", { class: "card" }, caption, this.#svg);
    new ResizeObserver(() => this.#draw()).observe(this.#figure);
  }

  get element() {
    return this.#figure;
  }

  /** Show one array of values for each name, one value a second; null is a gap. */
  show(series) {
    this.#series = series;
    this.#draw();
  }

  #draw() {
    const width = this.#svg.clientWidth;
    if (!width) return;
    const { seconds, digits, names, title, unit } = this.#options;
    const [low, high, step] = this.#range();
    const right = width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const x = (age) => right - (age * (right - MARGIN.left)) / (seconds - 1);
    const y = (value) => bottom - ((value - low) * (bottom - MARGIN.top)) / (high - low);
    const parts = [];
    for (let tick = low; tick <= high + step / 2; tick += step) {
      const at = y(tick).toFixed(1);
      parts.push(draw("line", { class: "grid", x1: MARGIN.left, x2: right, y1: at, y2: at }));
      const label = number(tick, step < 1 ? 1 : 0);
      parts.push(
        draw("text", { x: MARGIN.left - 8, y: at, dy: "0.32em", "text-anchor": "end" }, label),
      );
    }
    const foot = HEIGHT - 4;
    parts.push(draw("text", { x: MARGIN.left, y: foot }, `${seconds / 60} min ago`));
    parts.push(draw("text", { x: right, y: foot, "text-anchor": "end" }, "now"));
    this.#series.forEach((values, index) => {
      const d = pathOf(values, x, y);
      if (d) parts.push(draw("path", { class: `line series-${index + 1}`, d }));
    });
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.replaceChildren(...parts);
    const now = names.map((name, index) => [name, number(this.#series[index]?.at(-1), digits)]);
    const values = now.map((pair) => pair.join(" ")).join(", ");
    const label = `${title} over the last ${seconds / 60} minutes; now ${values} ${unit}`;
    this.#svg.setAttribute("aria-label", label);
    this.#legend.replaceChildren(
      ...now.map(([name, value], index) =>
        make("li", { class: `series-${index + 1}` }, name ? `${name} ` : "", make("b", {}, value)),
      ),
    );
  }

  #range() {
    const values = this.#series.flat().filter((value) => value !== null && value !== undefined);
    if (!values.length) return [0, N_TICKS, 1];
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const floor = this.#options.fromZero ? 0 : least;
    const step = roundStep(Math.max(most - floor, this.#options.fromZero ? 1 : 2), N_TICKS);
    const low = Math.floor(floor / step) * step;
    const high = Math.max(Math.ceil(most / step) * step, low + step);
    return [low, high, step];
  }
}

function pathOf(values, x, y) {
  let d = "";
  let isDrawing = false;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      isDrawing = false;
      return;
    }
    const age = values.length - 1 - index;
    d += `${isDrawing ? "L" : "M"}${x(age).toFixed(1)} ${y(value).toFixed(1)}`;
    isDrawing = true;
  });
  return d;
}

/** Return a bar for p50 with a mark at p95, in a table of bars that share `most`. */
export function quantileBar(p50, p95, most) {
  const part = (value) => `${((100 * Math.min(value ?? 0, most)) / most).toFixed(2)}%`;
  const svg = draw("svg", { class: "bar", height: "12", "aria-hidden": "true" });
  svg.append(
    draw("rect", { class: "rail", width: "100%", height: "12", rx: "3" }),
    draw("rect", { class: "reach", width: part(p95), height: "12", rx: "3" }),
    draw("rect", { class: "body", width: part(p50), height: "12", rx: "3" }),
  );
  return svg;
}
