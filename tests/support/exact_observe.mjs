// What the exact decoder for browsers makes of files.
//
//   node exact_observe.mjs EXACT.js EXACT.wasm < PATHS
//
// Answers a line for each path: the frames that came out, and what was wrong with the file.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [script, wasmPath] = process.argv.slice(2);
const load = (name) => import(new URL(name, pathToFileURL(script)).href);
const { BitstreamError } = await load("./errors.js");
const { ExactDecoder, isProven, newFrame, placeTile } = await load("./exact.js");
const { ExactReader, KIND } = await load("./exact_file.js");
const wasm = new WebAssembly.Module(readFileSync(wasmPath));

const bytesOf = ({ buffer, byteOffset, byteLength }) =>
  new Uint8Array(buffer, byteOffset, byteLength);
const sha256 = (samples) => createHash("sha256").update(bytesOf(samples)).digest("hex");

function coarse(header, decoder, coded) {
  if (coded.kind !== KIND.tiles) return [];
  return Array.from({ length: header.steps - 1 }, (_, k) => {
    const frame = newFrame(header);
    for (let n = 0; n < header.tileRows * header.tileColumns; n++)
      placeTile(header, frame, decoder.decodeTile(coded, n, k + 1));
    return sha256(frame);
  });
}

async function observe(path) {
  const report = { frames: [], error: null };
  try {
    const reader = new ExactReader(new Uint8Array(readFileSync(path)));
    const { header } = reader;
    const decoder = await ExactDecoder.create(wasm, header);
    for (const coded of reader) {
      const frame = decoder.decodeFrame(coded);
      const proven = await isProven(header, coded, frame);
      report.frames.push({ sha256: sha256(frame), proven, coarse: coarse(header, decoder, coded) });
    }
  } catch (error) {
    if (!(error instanceof BitstreamError)) throw error;
    report.error = { kind: error.name, offset: error.offset };
  }
  return report;
}

for await (const path of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await observe(path))}\n`);
}
