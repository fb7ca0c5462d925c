// `.rtc` files, SPEC.md 3, 5 and 6: what rtcodec/bitstream/file.py reads, from memory.

import { crc32 } from "./crc.js";
import { Cursor } from "./cursor.js";
import { Corrupt, Truncated, Unsupported } from "./errors.js";
import { readGeometryAt, readPacketAt, slotOf, tileGrid } from "./packet.js";

const MAGIC = [0x89, 0x52, 0x54, 0x43];
const MAX_HEADER_BYTES = 45;
const MAX_UNIT_BYTES = 2 ** 28 - 1;
const MAX_PACKETS = 65536;
const MAX_TERM = 0xffffffff;
const MAX_REFERENCES = 15;
const PTS_LIMIT = 1n << 62n;

/**
 * @typedef {object} Sequence What holds for a whole stream.
 * @property {string} modelId Hexadecimal, 8 bytes.
 * @property {import("./packet.js").Geometry} geometry
 * @property {[number, number]} timeBase Seconds per tick.
 * @property {?[number, number]} frameRate
 * @property {number} colorRange 0 unspecified, 1 limited, 2 full.
 * @property {number} colorMatrix ITU-T H.273.
 * @property {number} sourceFormat Its code.
 * @property {number} rungs
 * @property {number} references
 *
 * @typedef {object} Unit One frame of one rung.
 * @property {number} offset Of its size field.
 * @property {bigint} pts
 * @property {import("./packet.js").Packet[]} packets
 * @property {number[]} offsets Of those.
 */

/** The access units of a stream in memory, one after the other. */
export class RtcReader {
  #bytes;
  #offset;

  /**
   * Read the sequence header.
   * @param {Uint8Array} bytes
   */
  constructor(bytes) {
    if (!bytes.length) throw new Truncated("the stream is empty", 0);
    this.#bytes = bytes;
    const cursor = new Cursor(bytes.subarray(0, MAX_HEADER_BYTES));
    /** @type {Sequence} */
    this.sequence = readSequence(cursor, bytes);
    this.#offset = cursor.offset;
  }

  /** @returns {Generator<Unit>} Throws where the stream is not as it should be. */
  *[Symbol.iterator]() {
    for (let unit = this.#readUnit(); unit; unit = this.#readUnit()) yield unit;
  }

  #readUnit() {
    const bytes = this.#bytes;
    const start = this.#offset;
    let n = 0;
    while (n < 4 && start + n < bytes.length && bytes[start + n++] >= 0x80);
    if (n === 1 && bytes[start] === 0) {
      this.#readEnd(start);
      return null;
    }
    const size = new Cursor(bytes.subarray(start, start + n), start).varint(MAX_UNIT_BYTES);
    const at = start + n;
    if (bytes.length - at < size) {
      throw new Truncated(`an access unit of ${size} bytes is cut`, bytes.length);
    }
    const body = bytes.subarray(at, at + size);
    const unit = readUnitBody(new Cursor(body, at, true), body, at, this.sequence);
    this.#offset = at + size;
    return { offset: start, ...unit };
  }

  #readEnd(start) {
    const bytes = this.#bytes;
    const cursor = new Cursor(bytes.subarray(start, start + 5), start);
    cursor.u8();
    if (cursor.u32() !== crc32(bytes.subarray(0, start + 1))) {
      throw new Corrupt("the CRC is not the stream's", start + 1);
    }
    if (bytes.length > start + 5) throw new Corrupt("bytes after the end", start + 5);
  }
}

function readSequence(cursor, bytes) {
  MAGIC.forEach((expected, i) => {
    if (cursor.peek(i) !== expected) throw new Corrupt("not an rtcodec stream", i);
  });
  cursor.raw(MAGIC.length);
  const version = cursor.u8();
  if (version !== 1) throw new Unsupported(`sequence header version ${version}`, MAGIC.length);
  const modelId = Array.from(cursor.raw(8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const geometry = readGeometryAt(cursor);
  const timeBase = readRatio(cursor, false);
  const frameRate = readRatio(cursor, true);
  const at = cursor.offset;
  const layout = cursor.u8();
  if (layout & 15) throw new Unsupported(`pixel format ${layout & 15}`, at);
  const color = cursor.u8();
  if (color >> 4 > 2 || (color & 15) > 14) throw new Corrupt("color is out of range", at + 1);
  const sourceFormat = cursor.u8();
  const references = cursor.u8();
  if (references > MAX_REFERENCES) throw new Corrupt(`${references} references`, at + 3);
  const end = cursor.offset;
  if (cursor.u32() !== crc32(bytes.subarray(0, end))) {
    throw new Corrupt("the CRC is not the header's", end);
  }
  return {
    modelId,
    geometry,
    timeBase,
    frameRate,
    colorRange: color >> 4,
    colorMatrix: color & 15,
    sourceFormat,
    rungs: (layout >> 4) + 1,
    references,
  };
}

/** @returns {?[number, number]} Numerator and denominator; null only where that is allowed. */
function readRatio(cursor, isOptional) {
  const start = cursor.offset;
  const numerator = cursor.varint(MAX_TERM);
  if (isOptional && numerator === 0) return null;
  const denominator = cursor.varint(MAX_TERM);
  if (!numerator || !denominator) throw new Corrupt("a ratio is not positive", start);
  let [a, b] = [numerator, denominator];
  while (b) [a, b] = [b, a % b];
  if (a !== 1) throw new Corrupt("a ratio is not in lowest terms", start);
  return [numerator, denominator];
}

function readUnitBody(cursor, bytes, origin, sequence) {
  const start = cursor.offset;
  const zigzag = cursor.bigVarint(2n * PTS_LIMIT - 1n);
  const pts = zigzag & 1n ? -(zigzag >> 1n) - 1n : zigzag >> 1n;
  const packets = [];
  const offsets = [];
  let previous = null;
  while (cursor.remaining) {
    const at = cursor.offset;
    if (packets.length === MAX_PACKETS) throw new Corrupt("too many packets in a unit", at);
    const packet = readPacketAt(cursor, bytes, origin);
    packets.push(packet);
    offsets.push(at);
    if (!packet.header) continue;
    const problem = misfit(packet.header, previous, sequence);
    if (problem) throw new Corrupt(problem, at);
    previous = packet.header;
  }
  if (!previous) throw new Corrupt("an access unit without a slice", start);
  return { pts, packets, offsets };
}

const isSameGeometry = (a, b) =>
  a.width === b.width && a.height === b.height && a.bitDepth === b.bitDepth;

/** Why a slice cannot follow `previous` in a unit, or null. */
function misfit(header, previous, sequence) {
  const { description, tiles } = header;
  if (description) {
    const tag = parseInt(sequence.modelId.slice(0, 4), 16);
    if (description.modelTag !== tag) return "the model tag is not the stream's";
    if (header.rung === 0 && !isSameGeometry(description.geometry, sequence.geometry)) {
      return "rung 0 has another size than the stream";
    }
  }
  if (header.rung >= sequence.rungs) return `rung ${header.rung} of ${sequence.rungs}`;
  for (const state of [header.reference, header.store]) {
    if (state !== null && slotOf(state) >= sequence.references) return "an undeclared slot";
  }
  const geometry = description?.geometry ?? sequence.geometry;
  const [rows, columns] = tileGrid(geometry.width, geometry.height);
  if (tiles && tiles.first + tiles.count > rows * columns) return "tiles beyond the frame";
  return previous && discord(previous, header);
}

const SAME = ["frameNumber", "qp", "isKey", "reference", "store", "rung", "temporal", "isSpatial"];

/** Why two slices cannot follow each other in one frame, or null. */
function discord(previous, header) {
  if (previous.last) return "a slice after the last one";
  if (!previous.tiles || !header.tiles) return "a slice beside one of the whole frame";
  if (previous.tiles.dispersed !== header.tiles.dispersed) return "slices in different tile orders";
  if (header.tiles.first < previous.tiles.first + previous.tiles.count) {
    return "tile positions that were there before";
  }
  const differs = SAME.find((name) => previous[name] !== header[name]);
  if (differs) return `slices of one frame differ in ${differs}`;
  const [a, b] = [previous.description, header.description];
  if (!a !== !b || (a && (a.modelTag !== b.modelTag || !isSameGeometry(a.geometry, b.geometry)))) {
    return "slices of one frame differ in description";
  }
  return null;
}
