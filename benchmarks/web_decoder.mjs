// The decoder for browsers, driven by lines: one JSON object in, one out. `_web_decoder.py` has the
// other end.
//
//   node web_decoder.mjs DECODER.js RTCODEC.wasm MODEL.rtcw [PIXELS_MAX]
//
// {packets, size?, blocks?, perceptual?, rgba?}: decode a frame; `blocks` stand in for what the
// networks paint.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [script, wasmPath, modelPath, pixelsMax = "10000000"] = process.argv.slice(2);
const load = (name) => import(new URL(name, pathToFileURL(script)).href);
const { BitstreamError, Decoder } = await load("./decoder.js");
const { Machine } = await load("./machine.js");
const { Model } = await load("./model.js");
const { Networks } = await load("./networks.js");

const read = (path) => {
  const { buffer, byteOffset, length } = readFileSync(path);
  return buffer.slice(byteOffset, byteOffset + length);
};

/** Networks that may be told what to paint. */
class Prompted extends Networks {
  #machine;
  blocks = null;

  constructor(machine, model) {
    super(machine, model);
    this.#machine = machine;
  }

  synthesise(symbols, z, qp, blocks, at) {
    if (!this.blocks) return super.synthesise(symbols, z, qp, blocks, at);
    const to = this.#machine.view(Uint16Array, blocks, this.blocks.length);
    this.blocks.forEach((sample, i) => (to[i] = 16 * sample));
  }
}

const machine = await Machine.start(read(wasmPath));
const model = await Model.read(read(modelPath));
const networks = model.has("gains") ? new Prompted(machine, model) : undefined; // none of stills
const clock = () => performance.now();
const decoder = new Decoder(machine, model, { pixelsMax: Number(pixelsMax), clock, networks });

const bytes = (text) => Buffer.from(text, "base64");
const text = (array) =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

function answer({ packets, size = null, blocks = null, perceptual = false, rgba = null }) {
  decoder.isPerceptual = perceptual;
  if (networks) networks.blocks = blocks && bytes(blocks);
  try {
    const started = clock();
    const { y, u, v, ...frame } = decoder.decode(packets.map(bytes), { size });
    const ms = { ...decoder.stages, decode: clock() - started };
    const result = { frame, ms, y: text(y), u: text(u), v: text(v) };
    if (rgba) {
      const before = clock();
      const shown = decoder.toRgba({ ...frame, y, u, v }, rgba);
      ms.rgba = clock() - before;
      result.rgba = text(shown);
    }
    return result;
  } catch (error) {
    if (!(error instanceof BitstreamError)) return { crash: String(error.stack) };
    const { name: kind, offset, needs, unheldFrame } = error;
    return { refusal: { kind, offset, needs, unheldFrame } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const result = { ...answer(JSON.parse(line)), memory_bytes: decoder.memoryBytes };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
