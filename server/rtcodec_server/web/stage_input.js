// Mouse, keys and buttons of the stage.

import { $ } from "./page.js";
import { stage } from "./stage.js";

const ZOOM = 1.25;
const MOVE = 40; // pixels that an arrow key moves
const WINDOW = 8; // as a drag of so many pixels

const area = $("area");

const KEYS = {
  ArrowLeft: () => stage.move(MOVE, 0),
  ArrowRight: () => stage.move(-MOVE, 0),
  ArrowUp: () => stage.move(0, MOVE),
  ArrowDown: () => stage.move(0, -MOVE),
  "+": () => stage.zoom(ZOOM),
  "=": () => stage.zoom(ZOOM),
  "-": () => stage.zoom(1 / ZOOM),
  0: () => stage.fit(),
  w: () => stage.dragWindow(0, WINDOW),
  s: () => stage.dragWindow(0, -WINDOW),
  d: () => stage.dragWindow(WINDOW, 0),
  a: () => stage.dragWindow(-WINDOW, 0),
  ",": () => stage.step(-1),
  ".": () => stage.step(1),
  " ": () => stage.toggleCine(),
  i: () => stage.isGrey && stage.invert(),
  r: reset,
};

function reset() {
  stage.resetWindow();
  stage.fit();
}

function inArea({ clientX, clientY }) {
  const { left, top } = area.getBoundingClientRect();
  return { x: clientX - left - area.clientLeft, y: clientY - top - area.clientTop };
}

/** Let somebody use them. */
export function listenToInput() {
  area.addEventListener("pointerdown", ({ pointerId }) => {
    if (stage.isOpen) area.setPointerCapture(pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (!stage.isOpen) return;
    const { buttons, shiftKey, movementX, movementY } = event;
    if (buttons > 1 || (buttons && shiftKey)) stage.move(movementX, movementY);
    else if (buttons) stage.dragWindow(movementX, movementY);
    stage.point(inArea(event));
  });
  area.addEventListener("pointerleave", () => stage.point(null));
  area.addEventListener("contextmenu", (event) => event.preventDefault());
  area.addEventListener("dblclick", () => stage.fit());
  area.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      stage.zoom(ZOOM ** -Math.sign(event.deltaY), inArea(event));
    },
    { passive: false },
  );
  area.addEventListener("keydown", (event) => {
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || !stage.isOpen || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  for (const id of ["center", "width"]) {
    $(id).addEventListener("change", () => {
      const [center, width] = [$("center").valueAsNumber, $("width").valueAsNumber];
      if (Number.isFinite(center) && Number.isFinite(width)) stage.setWindow(center, width);
    });
  }
  $("reset").addEventListener("click", reset);
  $("invert").addEventListener("click", () => stage.invert());
  $("play").addEventListener("click", () => stage.toggleCine());
  $("frame").addEventListener("input", ({ target }) => {
    stage.stopCine();
    stage.order(target.valueAsNumber);
  });
}
