// Where an exact picture is shown: window and level on samples at full depth, zoom, pan, cine. What is
// shown, and what may be said of it, comes from view_file.js or view_room.js; mouse and keys are in
// stage_input.js.

import { newFrame, placeTile } from "./exact.js";
import { $, make, number, say, sentence, size } from "./page.js";
import { Place, pixelsOf, rescale, show, wholeWindow } from "./window.js";

export const STEPS = 6;
const FRAME_MS = 100; // of a cine that does not say
const LOOK_MS = 120; // after the last move: what is passed over is not asked for

/**
 * The picture, and what is done to it.
 *
 * Events, `CustomEvent`: `order` (`{number, isCine}`: show that frame), `look` (`{region}`: which part
 * is seen, in samples, or null for all).
 */
class Stage extends EventTarget {
  #place = new Place();
  #area = $("area");
  #canvas = $("canvas");
  #context = this.#canvas.getContext("2d");
  #header = null;
  #display = null;
  #shades = null; // the window
  #isSettled = false; // it was chosen, or found in a whole frame
  #isInverted = false;
  #pixels = null; // of samples, as they are shown now
  #image = null;
  #samples = null;
  #number = 0; // of the frame that is shown
  #wanted = 0;
  #pointed = null; // row and column under the mouse
  #playing = null;
  #looking = null;
  #looked = null;
  #fitted = "";

  constructor() {
    super();
    new ResizeObserver(() => this.fit()).observe(this.#area);
  }

  /** Whether there is a picture, of whatever quality. */
  get isOpen() {
    return this.#header !== null;
  }

  /** Whether shades can be windowed and inverted: not those of colours. */
  get isGrey() {
    return this.#header?.channels !== 3 && !this.#display?.palette;
  }

  /** Show nothing. */
  clear() {
    this.#header = this.#display = this.#image = this.#samples = this.#shades = null;
    this.stopCine();
    this.#isSettled = this.#isInverted = false;
    this.#looked = null;
    [this.#canvas.width, this.#canvas.height] = [0, 0];
    $("message").hidden = true;
    $("invert").setAttribute("aria-pressed", "false");
    $("controls").hidden = true;
    this.#tell();
  }

  /**
   * Begin with a picture, or know more of the one that is there.
   * @param {any} header Its width, height, frames, channels; the rest once there are samples.
   * @param {?import("./window.js").Display} display Null until then.
   */
  open(header, display) {
    const { width, height } = header;
    this.#header = header;
    this.#display = display;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      [this.#canvas.width, this.#canvas.height] = [width, height];
      this.#image = null;
    }
    $("window").hidden = $("invert").hidden = !this.isGrey || !display;
    $("controls").hidden = false;
    $("frames").hidden = $("play").hidden = header.frames === 1;
    $("frame").max = String(header.frames - 1);
    if (this.#fitted === `${width}x${height}`) this.#tell();
    else this.fit(); // of one size after the other are slices: they stay where they are
  }

  /** Show what is no samples: 8 bits, smaller by a whole factor. */
  showPreview(index, width, height, rgba) {
    this.#number = index;
    const small = /** @type {HTMLCanvasElement} */ (make("canvas", { width, height }));
    small.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
    const factor = Math.ceil(this.#header.width / width);
    this.#samples = null;
    this.#context.drawImage(small, 0, 0, width * factor, height * factor);
    this.#tell();
  }

  /** Show a whole frame. */
  showFrame(index, samples, steps) {
    this.#number = index;
    this.#samples = samples;
    this.#settle(steps);
  }

  /** Show tiles as they come; the first of a frame are all of it. */
  showTiles(index, tiles, { isFirst, all }) {
    if (isFirst || !this.#samples) this.#samples = newFrame(this.#header);
    this.#number = index;
    for (const tile of tiles) placeTile(this.#header, this.#samples, tile);
    if (isFirst || !this.#isSettled) return this.#settle(all);
    for (const { top, left, spacing, rows, columns } of tiles) {
      const [height, width] = [this.#header.height - top, this.#header.width - left];
      this.#drawPart(
        top,
        left,
        Math.min(rows * spacing, height),
        Math.min(columns * spacing, width),
      );
    }
    this.#tell();
  }

  /** Say of what quality the picture is; `kind` is good, warn, bad or empty. */
  describe(text, kind) {
    say($("quality"), text);
    $("quality").className = `pill ${kind}`;
  }

  fail(title, reason) {
    $("message").hidden = false;
    $("message").replaceChildren(make("b", {}, title), sentence(reason));
  }

  /** Nothing more comes of the frame for now: a cine goes on. */
  rest() {
    const playing = this.#playing;
    if (!playing) return;
    const frameMs = this.#display.frameMs || FRAME_MS;
    playing.dueMs ??= performance.now() + frameMs;
    clearTimeout(playing.timer);
    const next = () => {
      // timers are late: the next frame is due by the clock, unless all are behind
      playing.dueMs = Math.max(playing.dueMs, performance.now() - frameMs) + frameMs;
      this.order(this.#wanted + 1);
    };
    playing.timer = setTimeout(next, Math.max(0, playing.dueMs - performance.now()));
  }

  /** Ask for a frame. */
  order(index) {
    this.#wanted = (index + this.#header.frames) % this.#header.frames;
    $("frame").value = String(this.#wanted);
    say($("frame-name"), `Frame ${this.#wanted + 1} of ${this.#header.frames}`);
    this.#emit("order", { number: this.#wanted, isCine: this.#playing !== null });
  }

  stopCine() {
    if (!this.#playing) return;
    clearTimeout(this.#playing.timer);
    this.#playing = null;
    $("play").setAttribute("aria-pressed", "false");
    if (this.#header) this.order(this.#wanted); // as good as it is, now that there is time
  }

  toggleCine() {
    if (this.#playing) return this.stopCine();
    if (!this.#samples || this.#header.frames === 1) return;
    this.#playing = { dueMs: null, timer: 0 };
    $("play").setAttribute("aria-pressed", "true");
    this.rest();
  }

  step(by) {
    this.stopCine();
    if (this.#header?.frames > 1) this.order(this.#wanted + by);
  }

  // ---- drawing

  /** Take a window if none was chosen, and draw all. */
  #settle(steps) {
    if (this.#isSettled && this.#shades) this.#draw();
    else this.resetWindow();
    this.#isSettled ||= steps >= STEPS || this.#display.window !== null;
  }

  /** Turn shades around, or back. */
  invert() {
    this.#isInverted = !this.#isInverted;
    $("invert").setAttribute("aria-pressed", String(this.#isInverted));
    this.#draw();
  }

  #draw() {
    this.#pixels = null;
    if (!this.#samples) return;
    this.#image ??= this.#context.createImageData(this.#header.width, this.#header.height);
    this.#show(this.#samples, this.#image);
    this.#context.putImageData(this.#image, 0, 0);
    this.#tell();
  }

  #drawPart(top, left, rows, columns) {
    const { width, channels: n } = this.#header;
    const part = this.#samples.slice(0, rows * columns * n);
    for (let row = 0; row < rows; row++) {
      const from = ((top + row) * width + left) * n;
      part.set(this.#samples.subarray(from, from + columns * n), row * columns * n);
    }
    const image = this.#context.createImageData(columns, rows);
    this.#show(part, image);
    this.#context.putImageData(image, left, top);
  }

  #show(samples, image) {
    const { isInverted } = this.#display;
    const display = { ...this.#display, isInverted: this.#isInverted ? !isInverted : isInverted };
    this.#pixels ??= pixelsOf(this.#header, display, this.#shades);
    show(this.#header, display, this.#shades, samples, image.data, this.#pixels);
  }

  #takeWindow(shades) {
    this.#shades = shades;
    for (const id of ["center", "width"]) {
      $(id).value = shades.lut ? "" : String(Math.round(shades[id] * 10) / 10);
    }
    this.#draw();
  }

  /** Take the window that the picture brings. */
  resetWindow() {
    if (!this.#samples) return;
    this.#takeWindow(this.#display.window ?? this.#wholeWindow());
  }

  #wholeWindow() {
    return wholeWindow(this.#header, this.#display, this.#samples);
  }

  /** Change the window to one that somebody chose. */
  setWindow(center, width) {
    if (!this.#samples) return;
    this.#isSettled = true;
    this.#takeWindow({ center, width: Math.max(1, width) });
  }

  /** Change the window as far as a drag of so many pixels goes. */
  dragWindow(dx, dy) {
    if (!this.#samples || !this.isGrey) return;
    const { center, width } = this.#shades.lut ? this.#wholeWindow() : this.#shades;
    const speed = Math.max(1, width) / 256;
    this.setWindow(center + dy * speed, width + dx * speed);
  }

  // ---- where it lies

  #lay() {
    const { x, y, scale } = this.#place;
    this.#canvas.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    this.#canvas.classList.toggle("large", scale > 2);
    this.#tell();
    clearTimeout(this.#looking);
    this.#looking = setTimeout(() => this.#look(), LOOK_MS);
  }

  /** Show all of the picture. */
  fit() {
    if (!this.#header) return;
    const { width, height } = this.#header;
    this.#fitted = `${width}x${height}`;
    this.#place.fit(width, height, this.#area.clientWidth, this.#area.clientHeight);
    this.#lay();
  }

  #look() {
    if (!this.#header) return;
    const { width, height } = this.#header;
    const { clientWidth, clientHeight } = this.#area;
    const region = this.#place.seen(width, height, clientWidth, clientHeight);
    const key = JSON.stringify(region);
    if (key === this.#looked) return;
    this.#looked = key;
    this.#emit("look", { region });
  }

  move(dx, dy) {
    this.#place.move(dx, dy);
    this.#lay();
  }

  /** Enlarge around a point of the area: by default its middle. */
  zoom(factor, { x, y } = { x: this.#area.clientWidth / 2, y: this.#area.clientHeight / 2 }) {
    this.#place.zoom(factor, x, y);
    this.#lay();
  }

  /** Say what is under a point of the area, or under none. */
  point(point) {
    this.#pointed = point && this.#place.at(point.x, point.y);
    this.#tell();
  }

  // ---- figures

  #tell() {
    const header = this.#header;
    $("numbers").hidden = !header;
    if (!header) return;
    const { center, width, lut } = this.#shades ?? {};
    const hasWindow = this.isGrey && this.#samples;
    const lines = [
      ["picture", size(header.width, header.height)],
      ["depth", `${header.bits} bits${header.signed ? ", signed" : ""}`],
      ["frame", header.frames > 1 ? `${this.#number + 1} of ${header.frames}` : ""],
      ["center / width", hasWindow && !lut ? `${number(center)} / ${number(width)}` : ""],
      ["shades", hasWindow && lut ? "the file's own table" : ""],
      ["zoom", `${number(100 * this.#place.scale)} %`],
      ["here", this.#samples && this.#pointed ? this.#describePoint(this.#pointed) : ""],
    ].filter(([, value]) => value);
    $("numbers").replaceChildren(
      ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
    );
  }

  #describePoint({ row, column }) {
    const { width, height, channels: n } = this.#header;
    if (row < 0 || column < 0 || row >= height || column >= width) return "";
    const at = (row * width + column) * n;
    const samples = Array.from(this.#samples.subarray(at, at + n));
    if (n > 1) return samples.join(", ");
    return number(this.isGrey ? rescale(this.#display, samples[0]) : samples[0], 0);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** The one of this page. */
export const stage = new Stage();
