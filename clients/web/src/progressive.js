// Progressive pictures, rtcodec/progressive/SPEC.md: what progressive_file.py and native.py do, from
// as many bytes as there are.

import { planesToRgba } from "./color.js";
import { crc32 } from "./crc.js";
import { Cursor } from "./cursor.js";
import { Corrupt, Unsupported } from "./errors.js";
import { Machine } from "./machine.js";

/** Bytes from which on there is a picture. */
export const HEADER_BYTES = 21;

const MAGIC = [0x89, 0x52, 0x54, 0x50];
const VERSION = 4;
const LIBRARY_VERSION = 4; // of what is passed to the C, as native.py has it
const PIXELS_MAX = 2 ** 25;
const PLANES_MAX = 16;
const TRANSFORMS = 2;
const END_BYTES = 4;
const RANGE_MAX = 2;
const FULL_RANGE = 2;
const MATRIX_MAX = 14;
const MATRIX_UNSPECIFIED = 2;
const TRUNCATED = 1;
const FAULTS = { 2: "state is too small", 4: "bytes are left over", 5: "a state is left over" };

/**
 * @typedef {object} ProgressiveFile A file, or the beginning of one.
 * @property {number} width
 * @property {number} height
 * @property {import("./color.js").Color} color
 * @property {number} transform
 * @property {number[]} planeCounts Bit planes of Y, U and V.
 * @property {number} payloadBytes Of the whole file.
 * @property {Uint8Array} payload As much as there is of it.
 * @property {boolean} isWhole Whether all of it is there, and its CRC right.
 */

/**
 * Read a file, or any beginning of one from the header on.
 *
 * Throws `Truncated` if the header is not whole, `Corrupt` or `Unsupported` as read_progressive does.
 * @param {Uint8Array} bytes
 * @returns {ProgressiveFile}
 */
export function readProgressive(bytes) {
  const cursor = new Cursor(bytes);
  MAGIC.forEach((byte, place) => {
    if (cursor.u8() !== byte) throw new Corrupt("not a progressive picture", place);
  });
  const version = cursor.u8();
  if (version !== VERSION) throw new Unsupported(`progressive picture version ${version}`, 4);
  const geometry = cursor.u32();
  const bits = (geometry >>> 28) + 1;
  const width = ((geometry >>> 14) & 0x3fff) + 1;
  const height = (geometry & 0x3fff) + 1;
  if (bits !== 8 || width * height > PIXELS_MAX) {
    throw new Corrupt(`${width}x${height} of ${bits} bits`, 5);
  }
  const color = cursor.u8();
  if (color >> 4 > RANGE_MAX || (color & 15) > MATRIX_MAX) {
    throw new Corrupt("color is out of range", 9);
  }
  const transform = cursor.u8();
  if (transform >= TRANSFORMS) throw new Unsupported(`transform ${transform}`, 10);
  const planes = cursor.u16();
  const planeCounts = [planes >> 10, (planes >> 5) & 31, planes & 31];
  if (Math.max(...planeCounts) > PLANES_MAX) throw new Corrupt("too many bit planes", 11);
  const payloadBytes = cursor.u32();
  const at = cursor.offset;
  if (cursor.u32() !== crc32(bytes.subarray(0, at))) {
    throw new Corrupt("header's CRC does not match", at);
  }
  const payload = cursor.raw(Math.min(cursor.remaining, payloadBytes));
  const isWhole = cursor.remaining >= END_BYTES;
  if (isWhole && cursor.u32() !== crc32(payload)) {
    throw new Corrupt("payload's CRC does not match", cursor.offset - END_BYTES);
  }
  if (isWhole && cursor.remaining) {
    throw new Corrupt(`${cursor.remaining} bytes after the end of the picture`, cursor.offset);
  }
  const matrix = color & 15;
  return {
    ...{ width, height, transform, planeCounts, payloadBytes, payload, isWhole },
    color: {
      matrix: matrix === MATRIX_UNSPECIFIED ? undefined : matrix,
      isFullRange: color >> 4 === FULL_RANGE,
    },
  };
}

/** Decodes beginnings of progressive pictures, each from the start. */
export class ProgressiveDecoder {
  #machine;

  /** @param {ArrayBuffer | WebAssembly.Module} wasm */
  static async create(wasm) {
    return new ProgressiveDecoder(await Machine.start(wasm));
  }

  /** `machine` runs progressive.wasm, for this decoder alone. */
  constructor(machine) {
    if (machine.call.rtc_progressive_version() !== LIBRARY_VERSION) {
      throw new Error("progressive.wasm is of another version");
    }
    this.#machine = machine;
  }

  /**
   * Return the planes of a picture as far as they are known.
   *
   * Throws `Corrupt` if its payload is none.
   * @param {ProgressiveFile} file
   */
  decode({ width, height, transform, planeCounts, payload }) {
    const machine = this.#machine;
    const { call, mark } = machine;
    try {
      const size = Number(call.rtc_progressive_begin(0, width, height, transform, 0));
      const state = machine.allocate(size);
      machine.view(Uint8Array, state, size).fill(0);
      call.rtc_progressive_begin(state, width, height, transform, 0);
      planeCounts.forEach((n, index) => call.rtc_progressive_planes(state, index, n));
      const status = call.rtc_progressive_decode(state, machine.put(payload), payload.length);
      if (status && status !== TRUNCATED) {
        throw new Corrupt(FAULTS[status], status === 2 ? 0 : payload.length);
      }
      const half = Math.ceil(width / 2) * Math.ceil(height / 2);
      const [y, u, v] = [width * height, half, half].map((samples, index) => {
        const at = machine.allocate(samples);
        call.rtc_progressive_paint(state, index, at);
        return machine.view(Uint8Array, at, samples).slice();
      });
      return { width, height, y, u, v };
    } finally {
      machine.release(mark);
    }
  }

  /**
   * Return the same for showing: red, green, blue and 255 of each sample.
   * @param {ProgressiveFile} file
   */
  show(file) {
    return planesToRgba(this.#machine, this.decode(file), file.color);
  }
}
