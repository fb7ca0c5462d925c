// Exact pictures from files of this machine, decoded in a worker.

import { $ } from "./page.js";
import { STEPS, stage } from "./stage.js";
import { startWorker } from "./worker_script.js";

const WORKER = new URL("./exact_worker.js", import.meta.url);

let worker = null;
let header = null;
/** @type {{number: number, steps: number, isProven: ?boolean} | null} */
let frame = null;

/** What may be said of the frame that is shown, and nothing better than that. */
function describeQuality() {
  if (!frame) return [header ? "reading" : "no picture", ""];
  if (frame.steps < STEPS) return [`level ${frame.steps} of ${header.steps}`, "warn"];
  if (frame.isProven === null) return ["all levels, not verified yet", "warn"];
  if (!frame.isProven) return ["damaged: not what was encoded", "bad"];
  return [header.maxError ? `within ±${header.maxError}, verified` : "lossless, verified", "good"];
}

function tell() {
  const [text, kind] = describeQuality();
  stage.describe(text, kind);
}

const fail = (reason) => stage.fail("The picture cannot be shown", reason);

function heed({ data }) {
  switch (data.kind) {
    case "header":
      header = data.header;
      stage.open(header, data.display);
      break;
    case "ready":
      stage.order(0);
      break;
    case "frame": {
      const { number, steps, samples } = data;
      frame = { number, steps, isProven: null };
      stage.showFrame(number, samples, steps);
      break;
    }
    case "proof":
      if (frame?.number === data.number) frame.isProven = data.isProven;
      stage.rest();
      break;
    case "failed":
      stage.stopCine();
      fail(data.reason);
      if (frame) frame.isProven = false;
  }
  tell();
}

async function openFile(file) {
  worker?.terminate();
  [worker, header, frame] = [null, null, null];
  stage.clear();
  tell();
  worker = startWorker(WORKER, "rtcodec pictures");
  worker.addEventListener("message", heed);
  worker.addEventListener("error", ({ message }) => fail(message || "it could not be read"));
  const bytes = await file.arrayBuffer();
  worker.postMessage({ kind: "open", bytes, wasm: "/web/exact.wasm" }, [bytes]);
}

/** Let somebody choose a file. */
export function beginWithFiles() {
  $("file-card").hidden = false;
  stage.addEventListener("order", (/** @type {any} */ { detail }) => {
    worker?.postMessage({ kind: "show", ...detail });
  });
  $("file").addEventListener("change", ({ target }) => {
    if (target.files.length) openFile(target.files[0]).catch((error) => fail(error.message));
  });
  tell();
}
