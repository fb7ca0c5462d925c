// A progressive picture as it arrives: a file of this machine, and what its first bytes show.

import { $, make, number, say, sentence, size } from "./page.js";

const WORKER = "/web/progressive_worker.js";
const STEPS = 1000; // of the slider
const LEAST_BYTES = 32;
const TICK_MS = 50;

// Trusted Types: the one script address that is made here
const policy = globalThis.trustedTypes?.createPolicy("rtcodec-worker", {
  createScriptURL: () => WORKER,
});

const canvas = $("canvas");
const context = canvas.getContext("2d");
let worker = null;
let header = null;
let playing = null;

function fail(reason) {
  stop();
  $("message").hidden = false;
  $("message").replaceChildren(make("b", {}, "The picture cannot be shown"), sentence(reason));
}

/** Bytes at a place of the slider: as much more at each step, as many times. */
const bytesAt = (step) =>
  Math.round(LEAST_BYTES * (header.fileBytes / LEAST_BYTES) ** (step / STEPS));
const stepAt = (nBytes) =>
  Math.round((STEPS * Math.log(nBytes / LEAST_BYTES)) / Math.log(header.fileBytes / LEAST_BYTES));

function ask(nBytes) {
  worker.postMessage({ kind: "show", nBytes: Math.min(nBytes, header.fileBytes) });
}

function tell({ nBytes, isWhole, decodeMs }) {
  const lines = [
    ["picture", size(header.width, header.height)],
    ["bytes", `${number(nBytes, 0)} of ${number(header.fileBytes, 0)}`],
    ["bits a pixel", number((8 * nBytes) / (header.width * header.height))],
    ["decoded in", `${number(decodeMs, 0)} ms`],
    ["whole", isWhole ? "yes" : "no"],
  ];
  $("numbers").replaceChildren(
    ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
  $("numbers").hidden = false;
}

function heed({ data }) {
  switch (data.kind) {
    case "header":
      header = data;
      canvas.width = header.width;
      canvas.height = header.height;
      for (const id of ["part", "arriving"]) $(id).hidden = false;
      $("bytes").value = String(STEPS);
      ask(header.fileBytes);
      break;
    case "picture":
      context.putImageData(new ImageData(data.rgba, header.width, header.height), 0, 0);
      tell(data);
      break;
    default:
      fail(data.reason);
  }
}

function stop() {
  clearInterval(playing);
  playing = null;
  $("play").setAttribute("aria-pressed", "false");
  say($("play"), "Arrive");
}

function play() {
  const bytesPerMs = Number($("rate").value) / 8;
  const start = performance.now();
  $("play").setAttribute("aria-pressed", "true");
  say($("play"), "Stop");
  playing = setInterval(() => {
    const nBytes = Math.max(LEAST_BYTES, Math.round((performance.now() - start) * bytesPerMs));
    const isAll = nBytes >= header.fileBytes;
    $("bytes").value = String(isAll ? STEPS : stepAt(nBytes));
    ask(nBytes);
    if (isAll) stop();
  }, TICK_MS);
}

async function open(file) {
  stop();
  $("message").hidden = true;
  worker?.terminate();
  worker = new Worker(policy ? policy.createScriptURL("") : WORKER, { type: "module" });
  worker.addEventListener("message", heed);
  worker.addEventListener("error", () => fail("the decoder does not start"));
  const bytes = await file.arrayBuffer();
  worker.postMessage({ kind: "open", bytes, wasm: "/web/progressive.wasm" }, [bytes]);
}

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) open(file).catch((error) => fail(error.message));
});
$("bytes").addEventListener("input", () => {
  stop();
  ask(bytesAt(Number($("bytes").value)));
});
$("play").addEventListener("click", () => (playing === null ? play() : stop()));
