// The worker of a viewer: reads encoded frames, decodes them, draws them, keeps the figures.

import { createDecoder } from "./decoder.js";
import { MessageIntake, readTransformer } from "./intake.js";
import { LatentStream } from "./stream.js";

const FIGURES_MS = 250;
const TEST_MS = 1000; // the self-test looks at the pictures of so long, at most
const TEST_PICTURES = 24;
const WARMING = 4; // first pictures, while the browser still compiles
const TRIES = 5;
const RETRY_MS = 1000;

let canvas = null;
let context = null;
let stream = null;
let intake = null; // of a data channel
const grabs = [];
let test = null;
let tellAssets; // resolves the next
const asked = new Promise((resolve) => (tellAssets = resolve)); // address of the list of files
let memoryBytes = null; // of WebAssembly
let isPerceptual = false;
let opened = asked.then((assets) => openDecoder(assets, null)); // of {files, decoder}
opened.catch(fail);

function tell(message, transfer = message.data ? [message.data.buffer] : []) {
  postMessage(message, { transfer });
}

function fail(error) {
  tell({ kind: "failed", reason: error.message });
}

/** Fetch, a few times where there is no answer: the relay may be starting anew. */
async function load(url) {
  for (let tries = 1; ; tries += 1) {
    try {
      const response = await fetch(url);
      if (response.ok) return response;
      throw new Error(`${url}: status ${response.status}`);
    } catch (error) {
      if (!(error instanceof TypeError) || tries === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** Open what the relay lists; what was opened before stays, if that is the same. */
async function openDecoder(assets, before) {
  const listing = await (await load(assets)).json();
  if (listing.missing) throw new Error(listing.missing);
  const files = [listing.wasm.url, listing.model.url];
  if (before?.files.join() === files.join()) return before;
  const [wasm, model] = await Promise.all(
    files.map(async (url) => (await load(new URL(url, assets))).arrayBuffer()),
  );
  const decoder = await createDecoder({ wasm, model });
  decoder.isPerceptual = isPerceptual;
  return { files, decoder };
}

/** Draw a picture, and give it to those who asked for one. */
function show(picture, decoder) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    [canvas.width, canvas.height] = [picture.width, picture.height];
  }
  const pixels = decoder.toRgba(picture);
  memoryBytes = decoder.memoryBytes;
  context.putImageData(new ImageData(pixels, picture.width, picture.height), 0, 0);
  const { width, height, frameNumber, isComplete } = picture;
  for (const id of grabs.splice(0)) {
    const [y, u, v] = [picture.y, picture.u, picture.v].map((plane) => plane.slice());
    const grabbed = { width, height, frameNumber, isComplete, y, u, v };
    tell({ kind: "grabbed", id, picture: grabbed }, [y.buffer, u.buffer, v.buffer]);
  }
}

/** Say once whether this machine keeps up, from the first pictures of a connection. */
function testSpeed({ workMs, intervalMs }) {
  const nowMs = performance.now();
  test.shown += 1;
  if (test.shown === WARMING) test.sinceMs = nowMs;
  if (test.shown < WARMING || intervalMs === null) return;
  if (nowMs - test.sinceMs < TEST_MS && test.shown < TEST_PICTURES) return;
  test.isDone = true;
  tell({ kind: "speed", workMs, intervalMs });
}

/** Begin with the frames of another connection. */
function openStream() {
  if (stream) {
    intake?.end();
    intake = null;
    stream.end();
    // a relay that was started anew may have another model, or one where it had none
    const before = opened.catch(() => null);
    opened = Promise.all([asked, before]).then((both) => openDecoder(...both));
    opened.catch(fail);
  }
  test = { shown: 0, sinceMs: 0, isDone: false };
  const decoder = opened.then((files) => files.decoder);
  const own = new LatentStream({
    decoder,
    show,
    tell: (message) => {
      tell(message);
      if (message.kind === "shown" && !test.isDone) testSpeed(own);
    },
  });
  stream = own;
  own.run().catch((error) => {
    decoder.then(
      () => fail(error),
      () => {}, // that was said
    );
  });
}

addEventListener("rtctransform", (/** @type {any} */ { transformer }) => {
  openStream();
  readTransformer(transformer, stream);
});

setInterval(() => {
  if (stream) tell({ kind: "figures", figures: { ...stream.figures, memoryBytes } });
}, FIGURES_MS);

addEventListener("message", ({ data }) => {
  if (data.kind === "open") {
    canvas = data.canvas;
    context = canvas.getContext("2d", { alpha: false });
    tellAssets(data.assets);
  } else if (data.kind === "head") {
    isPerceptual = data.isPerceptual;
    opened.then(({ decoder }) => Object.assign(decoder, { isPerceptual })).catch(() => {});
  } else if (data.kind === "grab") {
    grabs.push(data.id);
  } else if (data.kind === "channel") {
    openStream();
    intake = new MessageIntake(stream, tell);
  } else if (data.kind === "message") {
    intake?.receive(data.message);
  }
});
