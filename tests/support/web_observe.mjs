// What the decoder for browsers makes of streams, in the form of rtcodec/conformance/observe.py.
//
//   node web_observe.mjs DECODER.js RTCODEC.wasm < JOBS
//
// Jobs are lines {"stream": path, "model": path of a .rtcw, "source_formats": names}; so are answers:
// a report, and pictures in base64 where the model paints.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [script, wasmPath] = process.argv.slice(2);
const load = (name) => import(new URL(name, pathToFileURL(script)).href);
const { BitstreamError, Decoder } = await load("./decoder.js");
const { RtcReader } = await load("./file.js");
const { Machine } = await load("./machine.js");
const { Model } = await load("./model.js");
const { slotOf, tileGrid, tileIndices } = await load("./packet.js");
const { Painter, Refinement } = await load("./painter.js");
const { Part } = await load("./part.js");
const { COPY_BYTES, readCopies, readStillMap } = await load("./unpack.js");

const PLACES = 16;
const MODEL_ID_OFFSET = 5;

const read = (path) => {
  const { buffer, byteOffset, length } = readFileSync(path);
  return buffer.slice(byteOffset, byteOffset + length);
};
const sha256 = (...arrays) => {
  const hash = createHash("sha256");
  for (const array of arrays) hash.update(array);
  return hash.digest("hex");
};
const hex = (number) => `0x${number.toString(16).padStart(4, "0")}`;
const ratio = ([a, b]) => (b === 1 ? `${a}` : `${a}/${b}`);
const wrong = (error, origin) => {
  if (!(error instanceof BitstreamError)) throw error;
  return { kind: error.name, offset: error.offset + origin };
};

async function observe({ stream, model: modelPath, source_formats: formats }) {
  const bytes = new Uint8Array(read(stream));
  const report = { size_bytes: bytes.length, sequence: null, units: [], error: null };
  const pictures = [];
  const model = await Model.read(read(modelPath));
  try {
    const reader = new RtcReader(bytes);
    report.sequence = describe(reader.sequence, formats);
    if (!model.modelId.startsWith(reader.sequence.modelId)) {
      report.error = { kind: "Unsupported", offset: MODEL_ID_OFFSET };
      return { report, pictures };
    }
    const machine = await Machine.start(read(wasmPath));
    const intra = new Part(machine, model, "");
    const delta = model.has("delta.steps") ? new Part(machine, model, "delta.") : null;
    const spatial = model.has("spatial.steps") ? new Part(machine, model, "spatial.") : null;
    const decoder = model.has("gains")
      ? new Decoder(await Machine.start(read(wasmPath)), model)
      : null;
    const exact = ["exact", "linear"].includes(model.name) ? new ExactPainter(machine, model) : null;
    for (const unit of reader) {
      const { header } = unit.packets.find((packet) => packet.header);
      const size = header.description?.geometry ?? reader.sequence.geometry;
      const isDelta = delta && header.reference !== null;
      const part = header.isSpatial ? spatial : isDelta ? delta : intra;
      const seen = new Symbols(machine, part, size, Boolean(isDelta));
      const packets = unit.packets.map((packet, i) => seen.report(packet, unit.offsets[i]));
      const entry = { offset: unit.offset, pts: String(unit.pts), ...frame(header), packets };
      if (model.name === "null")
        entry.pixels = { sha256: sha256(...paintNull(seen, header.qp, size)) };
      if (exact) entry.pixels = { sha256: sha256(...exact.paint(seen, header)) };
      report.units.push(entry);
      if (decoder) {
        const slices = unit.packets.map((packet, i) =>
          bytes.subarray(
            unit.offsets[i],
            unit.offsets[i] + packet.payloadOffset + packet.payload.length,
          ),
        );
        const { width, height, y, u, v } = decoder.decode(slices, { size });
        const planes = [y, u, v].map((plane) => Buffer.from(plane).toString("base64"));
        pictures.push({ width, height, planes });
      }
    }
  } catch (error) {
    report.error = wrong(error, 0);
  }
  return { report, pictures };
}

function describe(sequence, formats) {
  return {
    model_id: sequence.modelId,
    width: sequence.geometry.width,
    height: sequence.geometry.height,
    bit_depth: sequence.geometry.bitDepth,
    time_base: ratio(sequence.timeBase),
    frame_rate: sequence.frameRate && ratio(sequence.frameRate),
    pixel_format: "yuv420p",
    color_range: ["unspecified", "limited", "full"][sequence.colorRange],
    color_matrix: sequence.colorMatrix,
    source_format: formats[sequence.sourceFormat] ?? `code-${sequence.sourceFormat}`,
    rungs: sequence.rungs,
    references: sequence.references,
  };
}

function frame({ frameNumber, qp, isKey, reference, store, rung, temporal, description }) {
  const { geometry } = description ?? {};
  return {
    frame_number: frameNumber,
    qp,
    keyframe: isKey,
    reference,
    store,
    rung,
    temporal,
    described: description && {
      model_tag: hex(description.modelTag),
      width: geometry.width,
      height: geometry.height,
      bit_depth: geometry.bitDepth,
    },
  };
}

/** The symbols of a frame, packet by packet. */
class Symbols {
  constructor(machine, part, { width, height }, isDelta) {
    Object.assign(this, { machine, part, width, height, isDelta });
    const [rows, columns] = tileGrid(width, height);
    this.slices = []; // those that are good
    const channels = part?.latentChannels ?? 0;
    this.values = new Int16Array(rows * columns * channels * PLACES); // tile by tile
  }

  report(packet, offset) {
    if (!packet.header) return { offset, type: packet.type, body_sha256: sha256(packet.payload) };
    const { header, payload } = packet;
    let tiles = tileIndices(header.tiles, this.width, this.height);
    const report = {
      offset,
      type: packet.type,
      last: header.last,
      lanes: header.lanes,
      tiles: header.tiles && [header.tiles.first, header.tiles.count],
      order: header.tiles?.dispersed ? "dispersed" : "raster",
      check: hex(header.check),
      payload_bytes: payload.length,
    };
    if (!this.part) return { ...report, error: { kind: "Unsupported", offset } };
    let mapSize = 0;
    let origin = offset + packet.payloadOffset;
    const { machine, part } = this;
    const { mark } = machine;
    try {
      if (this.isDelta) {
        [tiles, mapSize] = readStillMap(payload, tiles);
        report.coded_tiles = tiles.length;
        origin += mapSize;
      }
      if (header.hasCopies) {
        const columns = 4 * tileGrid(this.width, this.height)[1];
        const [at, size] = readCopies(machine, payload, tiles.length, columns);
        this.copies = machine.view(Uint8Array, at, COPY_BYTES * PLACES * tiles.length).slice();
        mapSize = size;
        origin += mapSize;
      }
      const n = tiles.length;
      const size = n * part.latentChannels * PLACES;
      const z = machine.allocate(n * part.hyperChannels);
      const symbols = machine.allocate(2 * size);
      if (n) {
        const decoder = part.open(payload.subarray(mapSize), n, header.qp, header.lanes, z);
        const indices = part.indices(z, n, header.qp);
        part.read(decoder, payload.length - mapSize, indices, n, symbols);
      }
      origin = offset;
      part.verify(packet, mapSize, z, n, symbols);
      const values = machine.view(Int16Array, symbols, size);
      const ofTile = part.latentChannels * PLACES;
      tiles.forEach((tile, i) => {
        this.values.set(values.subarray(i * ofTile, (i + 1) * ofTile), tile * ofTile);
      });
      this.slices.push({ coded: Uint32Array.from(tiles), symbols: values.slice() });
      report.z_sha256 = sha256(machine.view(Uint8Array, z, n * part.hyperChannels));
      report.symbols_sha256 = sha256(machine.view(Uint8Array, symbols, 2 * size));
    } catch (error) {
      report.error = wrong(error, origin);
    }
    machine.release(mark);
    return report;
  }
}

/** Paints what needs no networks; other frames are grey: rtcodec/conformance/exact.py. */
class ExactPainter {
  constructor(machine, model) {
    Object.assign(this, { machine, model });
    this.painters = {}; // by rung and size
    this.refinements = { intra: null };
    for (const kind of ["delta", "spatial"]) {
      this.refinements[kind] = new Refinement(machine, model, kind);
    }
    this.networks = {
      allocate: (rows, columns) => 384 * rows * columns,
      synthesise: (symbols, z, qp, blocks, size) =>
        machine.view(Uint16Array, blocks, size).fill(128 * 16),
    };
  }

  /** Planes, and the state that they leave, of symbols as they came. */
  paint({ part, isDelta, width, height, slices, copies }, header) {
    const { machine, model, networks, refinements } = this;
    const key = `${header.rung} ${width}x${height}`;
    this.painters[key] ??= new Painter(machine, model, networks, refinements, width, height);
    const painter = this.painters[key];
    painter.prepare(header.store);
    const { mark } = machine;
    const kind = isDelta ? "delta" : header.isSpatial ? "spatial" : "intra";
    const there = slices.map(({ coded, symbols }) => ({ coded, symbols: machine.put(symbols) }));
    const present = new Uint8Array(painter.nTiles).fill(1);
    const from = header.reference === null ? null : slotOf(header.reference);
    const to = header.store === null ? null : slotOf(header.store);
    const where = copies ? machine.put(copies) : 0;
    const unpacked = { header, kind, part, slices: there, present, copies: where };
    painter.paint(unpacked, from, to, () => {});
    machine.release(mark);
    const { y, u, v } = painter.planes();
    return [y, u, v];
  }
}

/** Planes of block means, as rtcodec/engine/null.py paints them. */
function paintNull({ values, part }, qp, { width, height }) {
  const step = 1 + Math.floor((qp * 31) / 63);
  const channels = part?.latentChannels ?? 0;
  const columns = tileGrid(width, height)[1];
  const plane = (first, perLatent, w, h) => {
    const side = 4 * perLatent; // samples of a latent's place
    const out = new Uint8Array(w * h);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const [row, column] = [Math.floor(y / side), Math.floor(x / side)];
        const tile = (row >> 2) * columns + (column >> 2);
        const mean = (Math.floor(y / 4) % perLatent) * perLatent + (Math.floor(x / 4) % perLatent);
        const at = (tile * channels + first + mean) * PLACES + (row & 3) * 4 + (column & 3);
        out[y * w + x] = Math.min(Math.max((values[at] ?? 0) * step + 128, 0), 255);
      }
    }
    return out;
  };
  const [halfWidth, halfHeight] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  return [
    plane(0, 4, width, height),
    plane(16, 2, halfWidth, halfHeight),
    plane(20, 2, halfWidth, halfHeight),
  ];
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await observe(JSON.parse(line)))}\n`);
}
