// The packets of a frame to its symbols: `unpack_frame` of rtcodec/codec/decoder.py. A slice that is
// missing or damaged costs its own tiles and nothing else.

import { BitstreamError, Corrupt, Truncated, Unsupported } from "./errors.js";
import { Cursor } from "./cursor.js";
import { TILE_PX, tileIndices } from "./packet.js";

const PLACES = 16;
export const COPY_BYTES = 16; // of a place
const SAME = [
  "frameNumber",
  "qp",
  "isKey",
  "reference",
  "store",
  "rung",
  "temporal",
  "isSpatial",
  "acrossTiles",
  "hasCopies",
];

/**
 * @typedef {"intra" | "delta" | "spatial"} Kind What a frame is read and painted by.
 * @typedef {Record<Kind, ?import("./part.js").Part>} Parts null: the model has none.
 *
 * The integers of a frame; addresses hold until memory is released.
 * @typedef {object} Unpacked
 * @property {import("./packet.js").Header} header Of the first good slice.
 * @property {Kind} kind
 * @property {import("./part.js").Part} part
 * @property {Slice[]} slices Those that are good.
 * @property {Uint8Array} present Which tiles came, 0 or 1.
 * @property {number} copies Address, int16 [blocks][8]; 0: no parts are copies.
 *
 * @typedef {object} Slice
 * @property {import("./packet.js").Packet} packet
 * @property {Uint32Array} tiles All that it brings.
 * @property {Uint32Array} coded Those of which anything is said.
 * @property {number} mapSize Bytes of its still map, or of what says its copies.
 * @property {number} copies
 * @property {number} z Address, int8 [coded][Cz].
 * @property {number} decoder Address, 0 where nothing is coded.
 * @property {number} symbols Address, int16 [coded][M][16], once they are read.
 */

/**
 * Which tiles of a delta slice are coded, SPEC.md 4.7.
 * @param {Uint8Array} payload
 * @param {Uint32Array} tiles
 * @returns {[Uint32Array, number]} And the bytes that say so.
 */
export function readStillMap(payload, tiles) {
  const size = Math.ceil(tiles.length / 8);
  if (payload.length < size) throw new Truncated("the still map is cut", payload.length);
  const unused = 8 * size - tiles.length;
  if (payload[size - 1] & ((1 << unused) - 1)) {
    throw new Corrupt("the still map says something of tiles that are not there", size - 1);
  }
  const coded = tiles.filter((_, i) => (payload[i >> 3] >> (7 - (i & 7))) & 1);
  if (!coded.length && payload.length > size) {
    throw new Corrupt(`${payload.length - size} bytes, but no tile is coded`, size);
  }
  return [coded, size];
}

/** Which parts are copies, SPEC.md 4.8: their address, and the bytes that say so. */
export function readCopies(machine, payload, nTiles, columns) {
  const cursor = new Cursor(payload);
  const said = cursor.raw(cursor.varint(2 ** 24 - 1));
  const rows = (nTiles * PLACES) / columns;
  const copies = machine.allocate(COPY_BYTES * rows * columns);
  const { mark } = machine;
  const [data, position] = [machine.put(said), machine.words(0)];
  const where = [rows, columns, COPY_BYTES / 2, copies, position];
  const status = machine.call.rtc_copies_decode(data, said.length, ...where);
  const at = machine.view(Uint32Array, position, 1)[0];
  machine.release(mark);
  if (status === 1) throw new Truncated("copies are cut", said.length);
  if (status) throw new Corrupt("copies that are none", at);
  return [copies, cursor.offset];
}

/**
 * Decode the symbols of whatever packets of one frame there are; BitstreamError if of none.
 * @param {import("./machine.js").Machine} machine
 * @param {import("./packet.js").Packet[]} packets Slices and what is skipped.
 * @param {Parts} parts
 * @returns {Unpacked}
 */
export function unpackFrame(machine, packets, parts, width, height, nTiles) {
  const opener = new Opener(machine, parts, width, height, nTiles);
  /** @type {Slice[]} */
  const slices = [];
  /** @type {?BitstreamError} */
  let problem = null;
  for (const packet of packets) {
    if (!packet.header) continue;
    const { mark } = machine;
    try {
      slices.push(opener.open(packet, slices));
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      problem ??= error;
      machine.release(mark);
    }
  }
  if (!slices.length) throw problem ?? new Truncated("no slice of the frame is here", 0);
  const { header } = slices[0].packet;
  const kind = kindOf(header, parts);
  const part = parts[kind];
  const good = readSymbols(machine, part, slices, header.qp, (slice, error) => {
    problem ??= error;
    for (const tile of slice.tiles) opener.present[tile] = 0;
  });
  if (!good.length) throw problem;
  const { copies } = good[0];
  return { header, kind, part, slices: good, present: opener.present, copies };
}

/** @returns {Kind} */
function kindOf(header, parts) {
  if (header.isSpatial) return "spatial";
  return parts.delta && header.reference !== null ? "delta" : "intra";
}

/** Opens slices, and refuses those that contradict the good ones before them. */
class Opener {
  #machine;
  #parts;
  #size;

  constructor(machine, parts, width, height, nTiles) {
    this.#machine = machine;
    this.#parts = parts;
    this.#size = [width, height];
    this.present = new Uint8Array(nTiles);
  }

  /** @returns {Slice} */
  open(packet, slices) {
    const { header, payload } = packet;
    const kind = kindOf(header, this.#parts);
    const part = this.#parts[kind];
    if (!part) throw new Unsupported("the model has nothing for such frames", 0);
    const [width, height] = this.#size;
    const geometry = header.description?.geometry;
    if (geometry && (geometry.width !== width || geometry.height !== height)) {
      throw new Corrupt(`a slice of ${geometry.width}x${geometry.height}`, 0);
    }
    const tiles = tileIndices(header.tiles, width, height);
    if (!tiles) throw new Corrupt("tiles beyond the frame", 0);
    const [coded, size] = kind === "delta" ? readStillMap(payload, tiles) : [tiles, 0];
    let [copies, mapSize] = [0, size];
    if (header.hasCopies) {
      const columns = 4 * Math.ceil(width / TILE_PX);
      [copies, mapSize] = readCopies(this.#machine, payload, tiles.length, columns);
    }
    let [z, decoder] = [0, 0];
    if (coded.length) {
      z = this.#machine.allocate(coded.length * part.hyperChannels);
      const rest = payload.subarray(mapSize);
      decoder = part.open(rest, coded.length, header.qp, header.lanes, z);
    }
    if (tiles.some((tile) => this.present[tile])) throw new Corrupt("a tile is coded twice", 0);
    const first = slices[0]?.packet.header;
    const differs = first && SAME.find((name) => first[name] !== header[name]);
    if (differs) throw new Corrupt(`slices of one frame differ in ${differs}`, 0);
    for (const tile of tiles) this.present[tile] = 1;
    return { packet, tiles, coded, mapSize, copies, z, decoder, symbols: 0 };
  }
}

/** Read and check the symbols of open slices; return those that are good. */
function readSymbols(machine, part, slices, qp, refuse) {
  const n = slices.reduce((sum, slice) => sum + slice.coded.length, 0);
  const ofTile = part.latentChannels * PLACES;
  const zs = machine.allocate(n * part.hyperChannels);
  const symbols = machine.allocate(2 * n * ofTile);
  let at = 0;
  for (const slice of slices) {
    const size = slice.coded.length * part.hyperChannels;
    machine.view(Int8Array, zs + at, size).set(machine.view(Int8Array, slice.z, size));
    at += size;
  }
  const indices = part.indices(zs, n, qp);
  let tile = 0;
  return slices.filter((slice) => {
    const { packet, coded, mapSize, decoder } = slice;
    slice.symbols = symbols + 2 * tile * ofTile;
    try {
      if (decoder) {
        const size = packet.payload.length - mapSize;
        part.read(decoder, size, indices + tile * ofTile, coded.length, slice.symbols);
      }
      part.verify(packet, mapSize, slice.z, coded.length, slice.symbols);
      return true;
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      refuse(slice, error);
      return false;
    } finally {
      tile += coded.length;
    }
  });
}
