// `.rtc` files of exact pictures, rtcodec/exact/SPEC.md 2: what rtcodec/bitstream/exact_file.py and
// exact_format.py read, from memory.

import { crc32 } from "./crc.js";
import { Cursor } from "./cursor.js";
import { Corrupt, Unsupported } from "./errors.js";

/** Payloads of a tile until it has every row and column: its coarsest grid and five levels. */
export const STEPS = 6;
const BOUND_MAX = 11;
const BOUND_VERSION = 2;
const WHOLE_VERSION = 3;
const COLOR_VERSION = 4;
const PALETTE_MAX = 2 ** 16;
export const KIND = { tiles: 1, jpegLs: 2, raw: 3 };

const MAGIC = [0x89, 0x52, 0x54, 0x58];
const SIDE_MAX = 65535;
const SAMPLES_MAX = 2 ** 28;
const FRAMES_MAX = 2 ** 24;
const NOTES_MAX = 2 ** 20;
const DIGEST_BYTES = 32;
const SAMPLE_BYTES = 10; // the most that one sample takes in a payload
const GROUPS = 3;
const PHASES = 3;
const TAPS = 16;
const ENERGIES = 11;
const CLASSES_MAX = 8;
const WEIGHT_MAX = 32767;
const THRESHOLD_MAX = 2 ** 24 - 1;

/** The component that differences are from. */
export const GREEN = 1;

/**
 * @typedef {object} Fit How the samples of one phase of one group of levels are expected.
 * @property {number[]} thresholds
 * @property {number[][]} weights Of each class.
 * @property {number[]} energies
 *
 * @typedef {object} Component
 * @property {number} low Added to what tiles hold.
 * @property {number} high
 * @property {?number} pad What stands for nothing.
 * @property {Fit[][]} fits Of each group, one for each phase.
 *
 * @typedef {object} ExactFormat What holds for all frames.
 * @property {number} width
 * @property {number} height
 * @property {number} frames
 * @property {number} bits Of a sample, 1 to 16.
 * @property {boolean} signed
 * @property {boolean} differences
 * @property {number} tileSide In samples.
 * @property {number} tileRows
 * @property {number} tileColumns
 * @property {number} maxError
 * @property {number} bound What every sample is within after `STEPS` steps, exact later; or 0.
 * @property {number} steps Payloads of a tile: `STEPS`, and one more where there is a bound.
 * @property {boolean} isModular Whether differences are modulo 2**bits.
 * @property {Component[]} components What tiles hold: each of the picture's, or one of numbers.
 * @property {?Int32Array} palette The colours that those are numbers of, `channels` each.
 * @property {number} channels Components of the picture.
 * @property {Uint8Array} notes A zlib stream of JSON.
 *
 * @typedef {object} ExactFrame One frame as coded.
 * @property {number} kind One of `KIND`.
 * @property {Uint8Array} digest SHA-256 of what a decoder gets.
 * @property {Uint32Array} checks CRC-32 of each tile, component by component; of tiles only.
 * @property {Uint8Array[]} payloads Of tiles as `placeOf` says, else one for each channel.
 *
 * @typedef {object} FrameHead What of a frame comes before its payloads.
 * @property {number} kind
 * @property {Uint8Array} digest
 * @property {Uint32Array} checks
 * @property {number[]} sizes In bytes, of the payloads.
 */

const fit = (weights, energies) => ({ thresholds: [], weights: [weights], energies });
const COMMON = [
  fit(
    [0, -4, -5, 11, -2, -7, -4, 2, -6, -9, 4, 5, 52, 53, -23, -13],
    [2, 422, 294, 45, 0, 0, 0, 225, 189, 143, 21],
  ),
  fit(
    [-8, 2, 2, 13, -13, -6, -17, -6, -11, -13, -5, -8, 25, 17, -2, 3],
    [0, 267, 95, 46, 0, 150, 0, 171, 121, 189, 10],
  ),
  fit(
    [8, 4, 2, -3, -20, -19, -23, -18, -12, -2, -11, -3, 19, 8, -2, -7],
    [0, 110, 11, 0, 0, 70, 200, 122, 109, 137, 4],
  ),
];
const COMMON_FITS = Array.from({ length: GROUPS }, () => COMMON);
const REFINEMENT = [
  fit(
    [3, 4, 4, -2, -48, -43, -42, -44, 0, -2, -2, -1, 0, 0, -1, 1],
    [39, 2, 0, 94, 75, 19, 12, 0, 4, 22, 755],
  ),
  fit(
    [3, 3, -2, 3, -44, -42, -44, -44, -1, -2, -1, -1, -1, 0, -1, 0],
    [15, 0, 0, 172, 42, 5, 3, 5, 4, 31, 656],
  ),
  fit(
    [5, 5, 0, -3, -45, -44, -41, -47, -2, -1, -3, -1, 0, 1, 0, 0],
    [9, 64, 7, 74, 85, 8, 10, 1, 0, 42, 691],
  ),
];

const times = (n, make) => Array.from({ length: n }, (_, k) => make(k));
const unfolded = (value) => (value % 2 ? -(value + 1) / 2 : value / 2);

/** Which payload holds a step (0 the coarsest grid) of a tile of a component. */
export function placeOf(header, step, component, tile) {
  const { components, tileRows, tileColumns } = header;
  return (step * components.length + component) * tileRows * tileColumns + tile;
}

/** The frames of a file in memory, one after the other. */
export class ExactReader {
  #bytes;
  #cursor;

  /**
   * Read the header.
   * @param {Uint8Array} bytes
   */
  constructor(bytes) {
    this.#bytes = bytes;
    this.#cursor = new Cursor(bytes);
    /** @type {ExactFormat} */
    this.header = readHeader(this.#cursor, bytes);
  }

  /** @returns {Generator<ExactFrame>} Throws where the file is not as it should be. */
  *[Symbol.iterator]() {
    for (let n = 0; n < this.header.frames; n++) yield this.#readFrame();
    const cursor = this.#cursor;
    cursor.peek(4);
    const start = cursor.offset;
    if (cursor.u8()) throw new Corrupt("more frames than the header says", start);
    if (cursor.u32() !== crc32(this.#bytes.subarray(0, start + 1))) {
      throw new Corrupt("the CRC is not the file's", start + 1);
    }
    cursor.end("end of the file");
  }

  #readFrame() {
    const { sizes, ...head } = readFrameHead(this.header, this.#cursor);
    return { ...head, payloads: sizes.map((size) => this.#cursor.raw(size)) };
  }
}

/**
 * Read what comes before the payloads of a frame.
 * @param {ExactFormat} header
 * @param {Cursor} cursor At the frame's first byte.
 * @returns {FrameHead}
 */
export function readFrameHead(header, cursor) {
  const start = cursor.offset;
  cursor.peek(DIGEST_BYTES);
  const kind = cursor.u8();
  if (kind < KIND.tiles || kind > KIND.raw) throw new Corrupt(`frame of kind ${kind}`, start);
  const digest = cursor.raw(DIGEST_BYTES);
  const isTiles = kind === KIND.tiles;
  const { components, tileRows, tileColumns } = header;
  const nChecks = isTiles ? components.length * tileRows * tileColumns : 0;
  const words = new Cursor(cursor.raw(4 * nChecks));
  const checks = Uint32Array.from({ length: nChecks }, () => words.u32());
  const sizes = readSizes(header, cursor, isTiles ? header.steps * nChecks : header.channels);
  return { kind, digest, checks, sizes };
}

function readSizes({ width, height }, cursor, count) {
  const inner = cursor.inner(cursor.varint(5 * count));
  const sizes = times(count, () => inner.varint(4 + SAMPLE_BYTES * width * height));
  inner.end("sizes");
  return sizes;
}

/**
 * Read the header; the cursor is at the first byte of `bytes`.
 * @param {Cursor} cursor
 * @param {Uint8Array} bytes
 * @returns {ExactFormat}
 */
export function readHeader(cursor, bytes) {
  MAGIC.forEach((expected, place) => {
    if (cursor.u8() !== expected) throw new Corrupt("not an exact picture", place);
  });
  const version = cursor.u8();
  if (version < 1 || version > COLOR_VERSION) {
    throw new Unsupported(`exact picture version ${version}`, MAGIC.length);
  }
  const [width, height] = times(2, () => cursor.varint(SIDE_MAX - 1) + 1);
  const frames = cursor.varint(FRAMES_MAX - 1) + 1;
  const at = cursor.offset;
  const flags = cursor.u8();
  const shape = cursor.u8();
  const [bits, signed, differences] = [(flags & 15) + 1, (flags & 16) !== 0, (flags & 32) !== 0];
  const [channels, tileBits] = [(shape >> 4) + 1, shape & 15];
  if (flags & 0xc0) throw new Corrupt("reserved flags set", at);
  if (differences && (channels !== 3 || signed)) {
    throw new Corrupt("differences are between three unsigned components", at);
  }
  if (channels > 4 || tileBits < 5 || tileBits > 9) {
    throw new Corrupt(`${channels} components in tiles of 2**${tileBits}`, at + 1);
  }
  if (width * height * channels > SAMPLES_MAX) {
    throw new Corrupt(`a frame of ${width}x${height} is too large`, at + 1);
  }
  const maxError = cursor.varint(SIDE_MAX);
  const isWhole = version === WHOLE_VERSION;
  if (version >= WHOLE_VERSION && maxError) throw new Corrupt(`version ${version} has no error`, at);
  if (isWhole && differences) throw new Corrupt("frames without tiles have no differences", at);
  const boundAt = cursor.offset;
  const bound = version === BOUND_VERSION ? cursor.varint(BOUND_MAX) : 0;
  if (version === BOUND_VERSION && (maxError || !bound)) {
    throw new Corrupt(`within ${bound} and then within ${maxError}`, boundAt);
  }
  const common = bound ? [...COMMON_FITS, REFINEMENT] : COMMON_FITS;
  const lowest = signed ? -(2 ** (bits - 1)) : 0;
  const highest = lowest + 2 ** bits - 1;
  const isColor = version === COLOR_VERSION;
  const paletteAt = cursor.offset;
  const palette = isColor ? readPalette(cursor, channels, lowest, highest) : null;
  if (isColor && Boolean(palette) === differences) {
    throw new Corrupt("version 4 has either a palette or differences", paletteAt);
  }
  const isModular = differences && !maxError && !bound && !isColor;
  const components = times(palette ? 1 : channels, (k) => {
    if (palette) return readComponent(cursor, 0, palette.length / channels - 1, common);
    const isApart = differences && !isModular && k !== GREEN; // both ways
    return readComponent(cursor, isApart ? 1 - 2 ** bits : lowest, highest, common);
  });
  const notes = cursor.raw(cursor.varint(NOTES_MAX));
  const end = cursor.offset;
  if (cursor.u32() !== crc32(bytes.subarray(0, end))) {
    throw new Corrupt("the CRC is not the header's", end);
  }
  if (isWhole) throw new Unsupported("HTJ2K or JPEG XL: pages decode neither", MAGIC.length);
  const tileSide = 2 ** tileBits;
  const [tileRows, tileColumns] = [Math.ceil(height / tileSide), Math.ceil(width / tileSide)];
  return {
    ...{ width, height, frames, bits, signed, differences },
    ...{ tileSide, tileRows, tileColumns, maxError, bound, components, palette },
    ...{ channels, notes },
    steps: bound ? STEPS + 1 : STEPS,
    isModular,
  };
}

/** Colours come as runs, in which each is as far from the one before; null: there are none. */
function readPalette(cursor, channels, lowest, highest) {
  const count = cursor.varint(PALETTE_MAX);
  if (!count) return null;
  const palette = new Int32Array(count * channels);
  const last = new Array(channels).fill(0);
  for (let n = 0; n < count;) {
    const at = cursor.offset;
    const run = cursor.varint(count - n - 1) + 1;
    const step = last.map(() => unfolded(cursor.varint(2 * SIDE_MAX + 1)));
    const ends = last.flatMap((value, k) => [value + step[k], value + run * step[k]]);
    if (ends.some((end) => end < lowest || end > highest)) {
      throw new Corrupt("a colour has a sample that is none", at);
    }
    for (const end = n + run; n < end; n++) {
      step.forEach((part, k) => (palette[n * channels + k] = last[k] += part));
    }
  }
  return palette;
}

function readComponent(cursor, least, most, common) {
  const at = cursor.offset;
  const low = unfolded(cursor.varint(2 * SIDE_MAX + 1));
  const high = cursor.varint(SIDE_MAX);
  if (low < least || low + high > most) {
    throw new Corrupt(`${low} to ${low + high} are not within ${least} to ${most}`, at);
  }
  const pad = cursor.varint(high + 1);
  return { low, high, pad: pad ? pad - 1 : null, fits: readFits(cursor, common) };
}

function readFits(cursor, common) {
  const at = cursor.offset;
  const form = cursor.u8();
  if (form > 1) throw new Corrupt(`fits of form ${form}`, at);
  if (!form) return common;
  return common.map((row) => row.map((usual) => readFit(cursor, usual)));
}

function readFit(cursor, usual) {
  const at = cursor.offset;
  const nClasses = cursor.u8() + 1;
  if (nClasses > CLASSES_MAX) throw new Corrupt(`${nClasses} classes`, at);
  let last = 0;
  const thresholds = times(nClasses - 1, () => (last += cursor.varint(THRESHOLD_MAX - last)));
  let before = usual.weights[0];
  const weights = times(nClasses, () => {
    const start = cursor.offset;
    const moves = times(TAPS, () => unfolded(cursor.varint(4 * WEIGHT_MAX + 1)));
    before = before.map((old, k) => old + moves[k]);
    if (before.some((weight) => Math.abs(weight) > WEIGHT_MAX)) {
      throw new Corrupt(`a weight is beyond ${WEIGHT_MAX}`, start);
    }
    return before;
  });
  return { thresholds, weights, energies: times(ENERGIES, () => cursor.varint(65535)) };
}

export const LAYOUT = { GROUPS, PHASES, TAPS, ENERGIES, CLASSES_MAX };
