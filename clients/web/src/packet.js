// Packets, SPEC.md 4: what rtcodec/bitstream/packet.py and tiles.py read.

import { Cursor } from "./cursor.js";
import { Corrupt, Unsupported } from "./errors.js";

const VERSION = 1;
const SLICE = 0;
const SPATIAL_SLICE = 3;
const WHOLE_SPATIAL = 4;
const COPIED_SPATIAL = 5;
const MAX_PACKET_BYTES = 2 ** 24 - 1;
const MAX_TILES = 65536;
const MAX_SLOTS = 15;
export const TILE_PX = 64;

const FLAG = {
  keyframe: 0x01,
  last: 0x02,
  reference: 0x04,
  store: 0x08,
  layer: 0x10,
  described: 0x20,
  tiles: 0x40,
  dispersed: 0x80,
};

/**
 * @typedef {{ width: number, height: number, bitDepth: number }} Geometry
 * @typedef {{ first: number, count: number, dispersed: boolean }} TileRange
 *
 * @typedef {object} Header
 * @property {boolean} isKey Whether a decoder may start here.
 * @property {boolean} last Whether no slice of this frame follows.
 * @property {number} qp 0 (finest) to 63.
 * @property {number} lanes Of the entropy coder: 1, 2, 4 or 8.
 * @property {number} frameNumber Modulo 65536.
 * @property {number} check The check word.
 * @property {?number} reference Id of the state it is predicted from; null: none.
 * @property {?number} store Id of the state it leaves behind; null: none.
 * @property {number} rung
 * @property {number} temporal
 * @property {?{ modelTag: number, geometry: Geometry }} description
 * @property {?TileRange} tiles null: the whole frame.
 * @property {boolean} isSpatial Whether the frame is predicted from itself, SPEC.md 9.6, ...
 * @property {boolean} acrossTiles ... and across its tiles, none of which it names then.
 * @property {boolean} hasCopies ... with copied parts, SPEC.md 9.7.
 *
 * @typedef {object} Packet
 * @property {number} type
 * @property {Header} [header] Of a slice; what has none is carried and skipped.
 * @property {Uint8Array} head Of a slice: all before the payload, the check word 0.
 * @property {number} checkOffset Where the check word is in that.
 * @property {Uint8Array} payload Or the body of what is no slice.
 * @property {number} payloadOffset From the start of the packet.
 */

/** Slots are the low half of the id of a state. */
export const slotOf = (state) => state & 15;

/**
 * Parse exactly one packet.
 * @param {Uint8Array} bytes
 * @returns {Packet}
 */
export function readPacket(bytes) {
  const cursor = new Cursor(bytes);
  const packet = readPacketAt(cursor, bytes, 0);
  cursor.end("packet");
  return packet;
}

/**
 * Parse one packet and step over it.
 * @param {Cursor} cursor
 * @param {Uint8Array} bytes What the cursor reads.
 * @param {number} origin Offset of those in what the cursor counts from.
 * @returns {Packet}
 */
export function readPacketAt(cursor, bytes, origin) {
  const start = cursor.offset;
  const versionType = cursor.u8();
  if (versionType >> 5 !== VERSION) {
    throw new Unsupported(`packet version ${versionType >> 5}`, start);
  }
  const type = versionType & 31;
  const size = cursor.varint(MAX_PACKET_BYTES);
  const bodyStart = cursor.offset;
  const body = cursor.inner(size);
  const isSlice = type === SLICE || (type >= SPATIAL_SLICE && type <= COPIED_SPATIAL);
  const header = isSlice ? readHeader(body, type) : undefined;
  const payloadOffset = body.offset - start;
  const payload = body.raw(body.remaining);
  const head = Uint8Array.from(bytes.subarray(start - origin, start - origin + payloadOffset));
  const checkOffset = bodyStart - start + 4; // after flags, lanes and qp, frame number
  if (header) head.fill(0, checkOffset, checkOffset + 2);
  return { type, header, head, checkOffset, payload, payloadOffset };
}

function readHeader(cursor, type) {
  const isSpatial = type !== SLICE;
  const acrossTiles = type >= WHOLE_SPATIAL;
  const start = cursor.offset;
  const flags = cursor.u8();
  const has = (flag) => (flags & flag) !== 0;
  if (has(FLAG.reference) && (isSpatial || has(FLAG.keyframe))) {
    throw new Corrupt("a frame that stands alone, with a reference", start);
  }
  if (has(FLAG.dispersed) && !has(FLAG.tiles)) {
    throw new Corrupt("dispersed order without tiles", start);
  }
  if (has(FLAG.tiles) && acrossTiles) {
    throw new Corrupt("a frame predicted across its tiles, with some of them", start);
  }
  const lanesQp = cursor.u8();
  const frameNumber = cursor.u16();
  const check = cursor.u16();
  const reference = has(FLAG.reference) ? readState(cursor) : null;
  const store = has(FLAG.store) ? readState(cursor) : null;
  const layer = has(FLAG.layer) ? readLayer(cursor) : 0;
  const description = has(FLAG.described)
    ? { modelTag: cursor.u16(), geometry: readGeometryAt(cursor) }
    : null;
  const tiles = has(FLAG.tiles) ? readTiles(cursor, has(FLAG.dispersed)) : null;
  return {
    isKey: has(FLAG.keyframe),
    last: has(FLAG.last),
    qp: lanesQp & 63,
    lanes: 1 << (lanesQp >> 6),
    frameNumber,
    check,
    reference,
    store,
    rung: layer >> 4,
    temporal: layer & 15,
    description,
    tiles,
    isSpatial,
    acrossTiles,
    hasCopies: type === COPIED_SPATIAL,
  };
}

function readState(cursor) {
  const start = cursor.offset;
  const state = cursor.u8();
  if (slotOf(state) >= MAX_SLOTS) throw new Corrupt(`state ${state} has no slot`, start);
  return state;
}

function readLayer(cursor) {
  const start = cursor.offset;
  const layer = cursor.u8();
  if (layer === 0) throw new Corrupt("layer 0 is said by leaving it out", start);
  return layer;
}

/** @returns {Geometry} */
export function readGeometryAt(cursor) {
  const start = cursor.offset;
  const word = cursor.u32();
  const bitDepth = (word >>> 28) + 1;
  if (bitDepth < 8) throw new Corrupt(`bit depth ${bitDepth} is below 8`, start);
  return { width: ((word >>> 14) & 0x3fff) + 1, height: (word & 0x3fff) + 1, bitDepth };
}

function readTiles(cursor, dispersed) {
  const first = cursor.varint(MAX_TILES - 1);
  const count = cursor.varint(MAX_TILES - first - 1) + 1;
  return { first, count, dispersed };
}

/**
 * Rows and columns of the tiles that cover a frame.
 * @returns {[number, number]}
 */
export function tileGrid(width, height) {
  return [Math.ceil(height / TILE_PX), Math.ceil(width / TILE_PX)];
}

/**
 * The tiles of a slice in coding order: increasing tile index.
 * @param {?TileRange} range null: the whole frame.
 * @returns {?Uint32Array} null if the frame has no such tiles.
 */
export function tileIndices(range, width, height) {
  const [rows, columns] = tileGrid(width, height);
  const { first, count, dispersed } = range ?? { first: 0, count: rows * columns };
  if (first + count > rows * columns) return null;
  if (!dispersed) return Uint32Array.from({ length: count }, (_, i) => first + i);
  return dispersedOrder(rows, columns)
    .slice(first, first + count)
    .sort();
}

/** Even rows and columns; odd ones; even rows and odd columns; the others: SPEC.md 2.2. */
function dispersedOrder(rows, columns) {
  const order = new Uint32Array(rows * columns);
  let n = 0;
  for (const [top, left] of [
    [0, 0],
    [1, 1],
    [0, 1],
    [1, 0],
  ]) {
    for (let row = top; row < rows; row += 2) {
      for (let column = left; column < columns; column += 2) order[n++] = row * columns + column;
    }
  }
  return order;
}
