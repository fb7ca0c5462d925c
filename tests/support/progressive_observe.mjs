// What the decoder of progressive pictures for browsers makes of files.
//
//   node progressive_observe.mjs PROGRESSIVE.js PROGRESSIVE.wasm < PATHS
//
// Answers a line for each path: SHA-256 of its planes, or what was wrong with it.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [script, wasmPath] = process.argv.slice(2);
const load = (name) => import(new URL(name, pathToFileURL(script)).href);
const { BitstreamError } = await load("./errors.js");
const { ProgressiveDecoder, readProgressive } = await load("./progressive.js");
const decoder = await ProgressiveDecoder.create(new WebAssembly.Module(readFileSync(wasmPath)));

function observe(path) {
  try {
    const file = readProgressive(new Uint8Array(readFileSync(path)));
    const { y, u, v } = decoder.decode(file);
    const digest = createHash("sha256").update(y).update(u).update(v).digest("hex");
    return { digest, isWhole: file.isWhole, color: file.color };
  } catch (error) {
    if (!(error instanceof BitstreamError)) throw error;
    return { error: error.constructor.name, offset: error.offset };
  }
}

for await (const path of createInterface(process.stdin)) {
  process.stdout.write(`${JSON.stringify(observe(path))}\n`);
}
