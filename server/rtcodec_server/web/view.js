// The viewer of exact pictures: a file of this machine, windowed at full depth, proven or not so called.

import { $, make, number, say, sentence, size } from "./page.js";
import { Place, show, wholeWindow } from "./window.js";

const STEPS = 6;
const WORKER = "/web/exact_worker.js";
const ZOOM = 1.25;
const MOVE = 40; // pixels that an arrow key moves
const FRAME_MS = 100; // of a cine that does not say

// Trusted Types: the one script address that is made here
const policy = globalThis.trustedTypes?.createPolicy("rtcodec-worker", {
  createScriptURL: () => WORKER,
});

const place = new Place();
const area = $("area");
const canvas = $("canvas");
const context = canvas.getContext("2d");
let worker = null;
let header = null;
let display = null;
let shades = null; // the window
let isSettled = false; // it was chosen, or found in a whole frame
let isInverted = false;
let image = null;
/** @type {{number: number, steps: number, samples: any, isProven: ?boolean | undefined} | null} */
let frame = null;
let wanted = 0;
let pointed = null; // row and column under the mouse
let playing = null;

// ---- saying what is shown

/** What may be said of the frame that is shown, and nothing better than that. */
function describeQuality() {
  if (!frame) return [header ? "reading" : "no picture", ""];
  if (frame.steps < STEPS) return [`level ${frame.steps} of ${STEPS}`, "warn"];
  if (frame.isProven === undefined) return ["all levels, not verified yet", "warn"];
  if (frame.isProven === null) return ["not verified: a page without https cannot hash", "warn"];
  if (!frame.isProven) return ["damaged: not what was encoded", "bad"];
  return [header.maxError ? `within ±${header.maxError}, verified` : "lossless, verified", "good"];
}

function tell() {
  const [text, kind] = describeQuality();
  say($("quality"), text);
  $("quality").className = `pill ${kind}`;
  $("numbers").hidden = !frame;
  if (!frame) return;
  const isGrey = header.components.length !== 3;
  const lines = [
    ["picture", size(header.width, header.height)],
    ["depth", `${header.bits} bits${header.signed ? ", signed" : ""}`],
    ["frame", header.frames > 1 ? `${frame.number + 1} of ${header.frames}` : ""],
    ["center / width", isGrey ? `${number(shades.center)} / ${number(shades.width)}` : ""],
    ["zoom", `${number(100 * place.scale)} %`],
    ["here", pointed ? describePoint(pointed) : ""],
  ].filter(([, value]) => value);
  $("numbers").replaceChildren(
    ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}

function describePoint({ row, column }) {
  const n = header.components.length;
  if (row < 0 || column < 0 || row >= header.height || column >= header.width) return "";
  const at = (row * header.width + column) * n;
  const samples = Array.from(frame.samples.subarray(at, at + n));
  if (n === 1) return number(samples[0] * display.slope + display.intercept, 0);
  return samples.join(", ");
}

function fail(reason) {
  $("message").hidden = false;
  $("message").replaceChildren(make("b", {}, "The picture cannot be shown"), sentence(reason));
}

// ---- the picture

function draw() {
  if (!frame) return;
  const inverted = isInverted ? !display.isInverted : display.isInverted;
  show(header, { ...display, isInverted: inverted }, shades, frame.samples, image.data);
  context.putImageData(image, 0, 0);
  tell();
}

function lay() {
  canvas.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
  canvas.classList.toggle("large", place.scale > 2);
  tell();
}

function fit() {
  if (!header) return;
  place.fit(header.width, header.height, area.clientWidth, area.clientHeight);
  lay();
}

function setWindow(center, width) {
  shades = { center, width: Math.max(1, width) };
  $("center").value = String(Math.round(shades.center * 10) / 10);
  $("width").value = String(Math.round(shades.width * 10) / 10);
  draw();
}

function resetWindow() {
  const { center, width } = display.window ?? wholeWindow(header, display, frame.samples);
  setWindow(center, width);
}

function heed({ data }) {
  switch (data.kind) {
    case "header":
      ({ header, display } = data);
      openPicture();
      break;
    case "ready":
      order(0);
      break;
    case "frame":
      frame = { ...data, isProven: undefined };
      if (isSettled) draw();
      else resetWindow();
      isSettled ||= frame.steps === STEPS;
      break;
    case "proof":
      if (frame?.number === data.number) frame.isProven = data.isProven;
      tell();
      playOn();
      break;
    case "failed":
      stopCine();
      fail(data.reason);
      if (frame) Object.assign(frame, { isProven: false });
      tell();
  }
}

function openPicture() {
  [canvas.width, canvas.height] = [header.width, header.height];
  image = context.createImageData(header.width, header.height);
  const isGrey = header.components.length !== 3;
  $("window").hidden = $("invert").hidden = !isGrey;
  $("buttons").hidden = false;
  $("frames").hidden = $("play").hidden = header.frames === 1;
  $("frame").max = String(header.frames - 1);
  isInverted = false;
  $("invert").setAttribute("aria-pressed", "false");
  fit();
}

async function openFile(file) {
  stopCine();
  worker?.terminate();
  worker = new Worker(policy ? policy.createScriptURL(WORKER) : WORKER, { type: "module" });
  worker.addEventListener("message", heed);
  worker.addEventListener("error", ({ message }) => fail(message || "it could not be read"));
  [header, frame, shades, isSettled] = [null, null, null, false];
  context.clearRect(0, 0, canvas.width, canvas.height);
  $("message").hidden = true;
  tell();
  const bytes = await file.arrayBuffer();
  worker.postMessage({ kind: "open", bytes, wasm: "/web/exact.wasm" }, [bytes]);
}

// ---- frames

function order(index) {
  wanted = (index + header.frames) % header.frames;
  $("frame").value = String(wanted);
  say($("frame-name"), `Frame ${wanted + 1} of ${header.frames}`);
  worker.postMessage({ kind: "show", number: wanted, isCine: playing !== null });
}

function playOn() {
  if (!playing) return;
  const elapsedMs = performance.now() - playing.sinceMs;
  const waitMs = Math.max(0, (display.frameMs || FRAME_MS) - elapsedMs);
  clearTimeout(playing.timer);
  playing.timer = setTimeout(() => {
    playing.sinceMs = performance.now();
    order(wanted + 1);
  }, waitMs);
}

function stopCine() {
  clearTimeout(playing?.timer);
  playing = null;
  $("play").setAttribute("aria-pressed", "false");
}

function toggleCine() {
  if (playing) return stopCine();
  if (!frame || header.frames === 1) return;
  playing = { sinceMs: performance.now(), timer: 0 };
  $("play").setAttribute("aria-pressed", "true");
  playOn();
}

function step(by) {
  stopCine();
  if (header?.frames > 1) order(wanted + by);
}

// ---- mouse and keys

function inArea({ clientX, clientY }) {
  const { left, top } = area.getBoundingClientRect();
  return { x: clientX - left - area.clientLeft, y: clientY - top - area.clientTop };
}

/** Change the window as far as a drag of so many pixels goes. */
function dragWindow(dx, dy) {
  const speed = Math.max(1, shades.width) / 256;
  isSettled = true;
  setWindow(shades.center + dy * speed, shades.width + dx * speed);
}

area.addEventListener("pointerdown", (event) => {
  if (frame) area.setPointerCapture(event.pointerId);
});
area.addEventListener("pointermove", (event) => {
  if (!frame) return;
  const { x, y } = inArea(event);
  pointed = place.at(x, y);
  if (!event.buttons) tell();
  else if (event.buttons > 1 || event.shiftKey) {
    place.move(event.movementX, event.movementY);
    lay();
  } else if (header.components.length !== 3) dragWindow(event.movementX, event.movementY);
});
area.addEventListener("pointerleave", () => {
  pointed = null;
  tell();
});
area.addEventListener("contextmenu", (event) => event.preventDefault());
area.addEventListener("dblclick", fit);
area.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const { x, y } = inArea(event);
    place.zoom(ZOOM ** -Math.sign(event.deltaY), x, y);
    lay();
  },
  { passive: false },
);

const middle = () =>
  /** @type {[number, number]} */ ([area.clientWidth / 2, area.clientHeight / 2]);
const moveBy = (dx, dy) => () => {
  place.move(dx, dy);
  lay();
};
const zoomBy = (factor) => () => {
  place.zoom(factor, ...middle());
  lay();
};
const isGrey = () => header.components.length !== 3;
const KEYS = {
  ArrowLeft: moveBy(MOVE, 0),
  ArrowRight: moveBy(-MOVE, 0),
  ArrowUp: moveBy(0, MOVE),
  ArrowDown: moveBy(0, -MOVE),
  "+": zoomBy(ZOOM),
  "=": zoomBy(ZOOM),
  "-": zoomBy(1 / ZOOM),
  0: fit,
  w: () => isGrey() && dragWindow(0, 8),
  s: () => isGrey() && dragWindow(0, -8),
  d: () => isGrey() && dragWindow(8, 0),
  a: () => isGrey() && dragWindow(-8, 0),
  ",": () => step(-1),
  ".": () => step(1),
  " ": toggleCine,
  i: () => isGrey() && $("invert").click(),
  r: () => $("reset").click(),
};
area.addEventListener("keydown", (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || !frame || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) openFile(target.files[0]).catch((error) => fail(error.message));
});
for (const id of ["center", "width"]) {
  $(id).addEventListener("change", () => {
    const [center, width] = [$("center").valueAsNumber, $("width").valueAsNumber];
    if (!frame || !Number.isFinite(center) || !Number.isFinite(width)) return;
    isSettled = true;
    setWindow(center, width);
  });
}
$("reset").addEventListener("click", () => {
  if (!frame) return;
  resetWindow();
  fit();
});
$("invert").addEventListener("click", () => {
  isInverted = !isInverted;
  $("invert").setAttribute("aria-pressed", String(isInverted));
  draw();
});
$("play").addEventListener("click", toggleCine);
$("frame").addEventListener("input", ({ target }) => {
  stopCine();
  order(target.valueAsNumber);
});
new ResizeObserver(fit).observe(area);
