// Decodes the frames of an exact picture, coarse to fine, away from the page.
//
//   page: open {bytes, wasm}   show {number}      here: header, frame {steps}, proof, failed

import { ExactDecoder, isProven, newFrame, placeTile } from "./exact.js";
import { ExactReader, KIND } from "./exact_file.js";
import { readDisplay } from "./window.js";

const COARSE = [2, 4]; // steps that are shown before all

let picture = null;
let nShown = 0; // orders to show a frame: only the newest is carried out

const breathe = () => new Promise((resolve) => setTimeout(resolve));

async function open({ bytes, wasm }) {
  const reader = new ExactReader(new Uint8Array(bytes));
  const { header } = reader;
  const display = await readDisplay(header);
  postMessage({ kind: "header", header: { ...header, notes: null }, display });
  const frames = [...reader]; // views of the file's bytes
  const response = await fetch(wasm);
  if (!response.ok) throw new Error("the relay has no decoder for exact pictures");
  const decoder = await ExactDecoder.create(await response.arrayBuffer(), header);
  picture = { header, frames, decoder };
  postMessage({ kind: "ready" });
}

async function show({ number, isCine }) {
  const order = (nShown += 1);
  const { header, frames, decoder } = picture;
  const coded = frames[number];
  if (coded.kind === KIND.tiles && !isCine) {
    for (const steps of COARSE) {
      const frame = newFrame(header);
      for (let tile = 0; tile < header.tileRows * header.tileColumns; tile++) {
        placeTile(header, frame, decoder.decodeTile(coded, tile, steps));
      }
      post({ kind: "frame", number, steps, samples: frame });
      await breathe();
      if (order !== nShown) return;
    }
  }
  const frame = decoder.decodeFrame(coded);
  const proven = isProven(header, coded, frame);
  post({ kind: "frame", number, steps: header.steps, samples: frame.slice() });
  postMessage({ kind: "proof", number, isProven: await proven });
}

const post = (message) => postMessage(message, { transfer: [message.samples.buffer] });

addEventListener("message", ({ data }) => {
  const doing = data.kind === "open" ? open(data) : show(data);
  doing.catch((error) => postMessage({ kind: "failed", reason: error.message }));
});
