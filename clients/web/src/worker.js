// The worker of a viewer: reads encoded frames, decodes them, draws them, keeps the figures.

import { createDecoder } from "./decoder.js";
import { LatentStream } from "./stream.js";

const FIGURES_MS = 250;
const TEST_MS = 1000; // the self-test looks at the pictures of so long, at most
const TEST_PICTURES = 24;
const WARMING = 4; // first pictures, while the browser still compiles

let canvas = null;
let context = null;
const opening = Promise.withResolvers();
const decoder = opening.promise;
let stream = null;
let grabs = [];
let test = null;

const fail = (error) => tell({ kind: "failed", reason: error.message });
const tell = (message, transfer = []) => postMessage(message, transfer);

async function load(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: status ${response.status}`);
  return response;
}

async function openDecoder(assets) {
  const listing = await (await load(assets)).json();
  if (listing.missing) throw new Error(listing.missing);
  const [wasm, model] = await Promise.all(
    [listing.wasm, listing.model].map(async ({ url }) => {
      const response = await load(new URL(url, assets));
      return response.arrayBuffer();
    }),
  );
  return createDecoder({ wasm, model });
}

/** Draw a picture, and give it to those who asked for one. */
function show(picture, opened) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    [canvas.width, canvas.height] = [picture.width, picture.height];
  }
  const pixels = opened.toRgba(picture);
  context.putImageData(new ImageData(pixels, picture.width, picture.height), 0, 0);
  const { width, height, frameNumber, isComplete } = picture;
  for (const id of grabs.splice(0)) {
    const [y, u, v] = [picture.y, picture.u, picture.v].map((plane) => plane.slice());
    const grabbed = { width, height, frameNumber, isComplete, y, u, v };
    tell({ kind: "grabbed", id, picture: grabbed }, [y.buffer, u.buffer, v.buffer]);
  }
}

/** Say once whether this machine keeps up, from the first pictures of a connection. */
function testSpeed(of) {
  const nowMs = performance.now();
  test.shown += 1;
  if (test.shown === WARMING) test.sinceMs = nowMs;
  if (test.shown < WARMING || of.intervalMs === null) return;
  if (nowMs - test.sinceMs < TEST_MS && test.shown < TEST_PICTURES) return;
  test.isDone = true;
  tell({ kind: "speed", workMs: of.workMs, intervalMs: of.intervalMs });
}

addEventListener("rtctransform", ({ transformer }) => {
  stream?.end();
  test = { shown: 0, sinceMs: 0, isDone: false };
  const own = new LatentStream(transformer, {
    decoder,
    show,
    tell: (message) => {
      tell(message, message.data ? [message.data.buffer] : []);
      if (message.kind === "shown" && !test.isDone) testSpeed(own);
    },
  });
  stream = own;
  own.run().catch((error) =>
    decoder.then(
      () => fail(error),
      () => {},
    ),
  ); // that was said
});

decoder.catch(fail);

setInterval(() => {
  if (stream) tell({ kind: "figures", figures: stream.figures });
}, FIGURES_MS);

addEventListener("message", ({ data }) => {
  if (data.kind === "open") {
    canvas = data.canvas;
    context = canvas.getContext("2d", { alpha: false, desynchronized: true });
    openDecoder(data.assets).then(opening.resolve, opening.reject);
  } else if (data.kind === "grab") {
    grabs.push(data.id);
  }
});
