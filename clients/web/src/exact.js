// Exact pictures, tile by tile and coarse to fine: rtcodec/exact/frame.py, native.py and proof.py.

import { crc32 } from "./crc.js";
import { Corrupt } from "./errors.js";
import { GREEN, KIND, LAYOUT, STEPS, placeOf } from "./exact_file.js";
import { Machine } from "./machine.js";
import { sha256 } from "./sha256.js";

const VERSION = 3; // of what is passed to the C, as native.py has it
const NO_PAD = 0xffffffff;
const FAULTS = {
  1: "payload ends too early",
  2: "state is too small",
  3: "a sample is beyond the bound",
  4: "bytes are left over",
  5: "a state is left over",
  6: "not a JPEG-LS image of this size, or damaged",
  7: "JPEG-LS of a form that is not decoded",
};

/**
 * @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array} Samples
 *   [rows, columns, components], at full depth.
 *
 * @typedef {object} Tile
 * @property {number} top First row in the frame.
 * @property {number} left
 * @property {number} spacing Between the rows and columns that are there: 1 when it is whole.
 * @property {number} rows That are there.
 * @property {number} columns
 * @property {Samples} samples
 */

/** Return the type of a picture's samples: 8 or 16 bits, with or without sign. */
export function sampleType({ bits, signed }) {
  if (bits <= 8) return signed ? Int8Array : Uint8Array;
  return signed ? Int16Array : Uint16Array;
}

/** Return the least sample that a picture's depth and sign allow. */
export const leastSample = ({ bits, signed }) => (signed ? -(2 ** (bits - 1)) : 0);

/** Where a tile lies in a frame. */
export function tileSpan({ width, height, tileSide, tileColumns }, number) {
  const top = Math.floor(number / tileColumns) * tileSide;
  const left = (number % tileColumns) * tileSide;
  return {
    ...{ top, left },
    rows: Math.min(tileSide, height - top),
    columns: Math.min(tileSide, width - left),
  };
}

/** Decodes tiles of the frames of one picture. */
export class ExactDecoder {
  #machine;
  #header;
  #models;
  #state;
  #planes;

  /**
   * @param {ArrayBuffer | WebAssembly.Module} wasm
   * @param {import("./exact_file.js").ExactFormat} header
   */
  static async create(wasm, header) {
    return new ExactDecoder(await Machine.start(wasm), header);
  }

  /** `machine` runs exact.wasm, for this decoder alone. */
  constructor(machine, header) {
    if (machine.call.rtc_exact_version() !== VERSION) {
      throw new Error("exact.wasm is of another version");
    }
    this.#machine = machine;
    this.#header = header;
    this.#models = header.components.map((one, k) => putModel(machine, header, one, k));
    this.#state = machine.allocate(machine.call.rtc_exact_state_bytes());
    const side = header.tileSide;
    this.#planes = header.components.map(() => machine.allocate(2 * side * side));
  }

  /**
   * Decode a tile, or with fewer `steps` every 2**(6 - steps)-th row and column of it; six of seven
   * are all within the header's bound.
   *
   * Throws `Corrupt` if a payload is, or the whole tile does not match its check word.
   * @param {import("./exact_file.js").ExactFrame} coded Of tiles; payloads of later steps may be
   *   missing.
   * @param {number} number Which tile.
   * @param {number} steps 1 to the header's.
   * @returns {Tile}
   */
  decodeTile(coded, number, steps = this.#header.steps) {
    const header = this.#header;
    const { top, left, rows, columns } = tileSpan(header, number);
    const nTiles = header.tileRows * header.tileColumns;
    this.#models.forEach((_, k) => {
      this.#decodePlane(coded, k, number, steps, rows, columns);
      if (steps < header.steps) return;
      const bytes = this.#machine.view(Uint8Array, this.#planes[k], 2 * rows * columns);
      if (crc32(bytes) !== coded.checks[k * nTiles + number]) {
        throw new Corrupt(`tile ${number} of component ${k} is damaged`, 0);
      }
    });
    const spacing = 2 ** Math.max(STEPS - steps, 0);
    return { top, left, spacing, ...this.#join(rows, columns, spacing) };
  }

  /**
   * Decode a whole frame, not yet proven.
   *
   * Throws `Corrupt` if a payload, or a tile's check word, is not what it says.
   * @param {import("./exact_file.js").ExactFrame} coded
   * @returns {Samples}
   */
  decodeFrame(coded) {
    const header = this.#header;
    if (coded.kind !== KIND.tiles) return this.#decodeOtherwise(coded);
    const frame = newFrame(header);
    for (let n = 0; n < header.tileRows * header.tileColumns; n++) {
      placeTile(header, frame, this.decodeTile(coded, n));
    }
    return frame;
  }

  /** rtcodec/exact/fallback.py */
  #decodeOtherwise(coded) {
    const header = this.#header;
    const frame = newFrame(header);
    const n = header.channels;
    const least = leastSample(header);
    coded.payloads.forEach((payload, k) => {
      const isRaw = coded.kind === KIND.raw;
      const { mark } = this.#machine;
      const plane = isRaw ? readRaw(header, payload) : this.#decodeJpegLs(payload);
      for (let i = 0; i < plane.length; i++) frame[i * n + k] = plane[i] + least;
      this.#machine.release(mark);
    });
    return frame;
  }

  #decodeJpegLs(payload) {
    const machine = this.#machine;
    const { width, height } = this.#header;
    const at = machine.put(payload);
    const plane = machine.allocate(2 * width * height);
    const status = machine.call.rtc_jpeg_ls_decode(at, payload.length, width, height, plane);
    if (status) throw new Corrupt(FAULTS[status], status === 1 ? payload.length : 0);
    return machine.view(Uint16Array, plane, width * height);
  }

  #decodePlane(coded, component, number, steps, rows, columns) {
    const machine = this.#machine;
    const model = this.#models[component];
    machine.view(Uint32Array, model, 2).set([columns, rows]);
    machine.call.rtc_exact_begin(this.#state);
    for (let step = 0; step < steps; step++) {
      const payload = coded.payloads[placeOf(this.#header, step, component, number)];
      const { mark } = machine;
      const at = machine.put(payload);
      const status = machine.call.rtc_exact_decode(
        ...[model, this.#state, at, payload.length, this.#planes[component], columns],
      );
      machine.release(mark);
      if (status) throw new Corrupt(FAULTS[status], status === 1 ? payload.length : 0);
    }
  }

  /** Return samples from what was coded of each component; split_tile of frame.py is the inverse. */
  #join(rows, columns, spacing) {
    const { bits, channels: n, components, palette, differences, isModular } = this.#header;
    const planes = this.#planes.map((at) => this.#machine.view(Uint16Array, at, rows * columns));
    const [nRows, nColumns] = [Math.ceil(rows / spacing), Math.ceil(columns / spacing)];
    const samples = new (sampleType(this.#header))(nRows * nColumns * n);
    const mask = 2 ** bits - 1;
    for (let row = 0, to = 0; row < rows; row += spacing) {
      for (let column = 0; column < columns; column += spacing, to += n) {
        const from = row * columns + column;
        if (palette) {
          const number = (planes[0][from] + components[0].low) * n;
          for (let k = 0; k < n; k++) samples[to + k] = palette[number + k];
          continue;
        }
        for (let k = 0; k < n; k++) samples[to + k] = planes[k][from] + components[k].low;
        if (!differences) continue;
        const green = samples[to + GREEN];
        for (const k of [0, 2]) {
          const apart = planes[k][from] + components[k].low; // may be negative where it is not modulo
          samples[to + k] = isModular
            ? (apart + green - 2 ** (bits - 1)) & mask
            : Math.min(Math.max(apart + green, 0), mask);
        }
      }
    }
    return { rows: nRows, columns: nColumns, samples };
  }
}

/** Make room for a frame. */
export function newFrame(header) {
  const { width, height, channels } = header;
  return new (sampleType(header))(width * height * channels);
}

/** Put a tile where it belongs; one that is coarse fills what it has not. */
export function placeTile(header, frame, tile) {
  const n = header.channels;
  const span = header.width * n;
  const { top, left, spacing, rows, columns, samples } = tile;
  const bottom = Math.min(top + header.tileSide, header.height);
  const right = Math.min(left + header.tileSide, header.width);
  for (let row = 0; row < rows; row++) {
    const y = top + row * spacing;
    const start = y * span + left * n;
    const from = row * columns * n;
    if (spacing === 1) {
      frame.set(samples.subarray(from, from + columns * n), start);
      continue;
    }
    for (let x = left, to = start; x < right; x++) {
      const at = from + Math.floor((x - left) / spacing) * n;
      for (let k = 0; k < n; k++) frame[to++] = samples[at + k];
    }
    for (let below = y + 1; below < Math.min(y + spacing, bottom); below++) {
      frame.copyWithin(below * span + left * n, start, start + (right - left) * n);
    }
  }
}

/**
 * Say whether a frame has the hash that its encoder found: SPEC.md 2.3.
 * @param {import("./exact_file.js").ExactFormat} header
 * @param {import("./exact_file.js").ExactFrame} coded
 * @param {Samples} frame
 * @returns {Promise<boolean>}
 */
export async function isProven(header, coded, frame) {
  const mark = new TextEncoder().encode("rtcodec exact frame");
  const head = new Uint8Array(mark.length + 14 + frame.byteLength);
  const view = new DataView(head.buffer);
  head.set(mark);
  head.set([header.bits, Number(header.signed)], mark.length);
  [header.height, header.width, header.channels].forEach((size, k) =>
    view.setUint32(mark.length + 2 + 4 * k, size, true),
  );
  head.set(new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength), mark.length + 14);
  // outside of https browsers have none to give
  const { subtle } = globalThis.crypto ?? {};
  const digest = subtle ? new Uint8Array(await subtle.digest("SHA-256", head)) : sha256(head);
  return digest.every((byte, k) => byte === coded.digest[k]);
}

/** Samples as they are: 16 bits, little-endian, at any address. */
function readRaw({ width, height }, payload) {
  if (payload.length !== 2 * width * height) {
    throw new Corrupt(`${payload.length} bytes are not the frame's samples`, 0);
  }
  const plane = new Uint16Array(width * height);
  for (let i = 0; i < plane.length; i++) plane[i] = payload[2 * i] + 256 * payload[2 * i + 1];
  return plane;
}

/** Write `rtc_exact_tile`; its size is filled in for each tile. */
function putModel(machine, { differences, maxError, bound }, { high, pad, fits }, component) {
  const { GROUPS, PHASES, TAPS, ENERGIES, CLASSES_MAX } = LAYOUT;
  const fitBytes = 4 * CLASSES_MAX + 2 * CLASSES_MAX * TAPS + 2 * (ENERGIES + 1);
  const view = new DataView(new ArrayBuffer(24 + (GROUPS + 1) * PHASES * fitBytes));
  const own = differences && component !== GREEN ? 0 : bound;
  const words = [0, 0, high, pad ?? NO_PAD, maxError, own];
  words.forEach((word, k) => view.setUint32(4 * k, word, true));
  fits.flat().forEach(({ thresholds, weights, energies }, k) => {
    let at = 24 + k * fitBytes;
    [weights.length, ...thresholds].forEach((word, i) => view.setUint32(at + 4 * i, word, true));
    at += 4 * CLASSES_MAX;
    weights.flat().forEach((weight, i) => view.setInt16(at + 2 * i, weight, true));
    at += 2 * CLASSES_MAX * TAPS;
    energies.forEach((energy, i) => view.setUint16(at + 2 * i, energy, true));
  });
  return machine.put(new Uint8Array(view.buffer));
}
