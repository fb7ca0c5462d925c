// Decodes beginnings of a progressive picture, away from the page.
//
//   page: open {bytes, wasm}   show {nBytes}      here: header, picture {nBytes, rgba}, failed

import { HEADER_BYTES, ProgressiveDecoder, readProgressive } from "./progressive.js";

let picture = null;
let wanted = 0; // bytes to show next: only the newest wish is carried out
let isBusy = false;

async function open({ bytes, wasm }) {
  const file = new Uint8Array(bytes);
  const { width, height, payloadBytes } = readProgressive(file);
  const response = await fetch(wasm);
  if (!response.ok) throw new Error("the relay has no decoder for progressive pictures");
  const decoder = await ProgressiveDecoder.create(await response.arrayBuffer());
  picture = { file, decoder };
  postMessage({ kind: "header", width, height, payloadBytes, fileBytes: file.length });
}

async function show({ nBytes }) {
  wanted = nBytes;
  if (isBusy) return;
  isBusy = true;
  try {
    for (let shown = 0; shown !== wanted; ) {
      shown = wanted;
      const { file, decoder } = picture;
      const part = readProgressive(file.subarray(0, Math.max(shown, HEADER_BYTES)));
      const start = performance.now();
      const rgba = decoder.show(part);
      const decodeMs = performance.now() - start;
      postMessage(
        { kind: "picture", nBytes: shown, isWhole: part.isWhole, rgba, decodeMs },
        { transfer: [rgba.buffer] },
      );
      await new Promise((resolve) => setTimeout(resolve)); // a newer wish may have come
    }
  } finally {
    isBusy = false;
  }
}

addEventListener("message", ({ data }) => {
  const doing = data.kind === "open" ? open(data) : show(data);
  doing.catch((error) => postMessage({ kind: "failed", reason: error.message }));
});
