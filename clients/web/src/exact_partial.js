// A file of exact pictures of which parts have come: rtcodec/exact/partial.py and exact_index.py.

import { ByteRanges } from "./byte_ranges.js";
import { Cursor } from "./cursor.js";
import { Corrupt, Truncated, Unsupported } from "./errors.js";
import { KIND, placeOf, readFrameHead, readHeader } from "./exact_file.js";

const END_BYTES = 5; // after the last frame
const FILE_MAX_BYTES = 2 ** 30; // what a page holds of one picture

/** Which tiles a part of a frame touches: rows and columns, up to the end. */
export function tilesOf({ tileSide, tileRows, tileColumns }, region) {
  if (!region) return { top: 0, left: 0, bottom: tileRows, right: tileColumns };
  const { x, y, width, height } = region;
  return {
    top: Math.floor(y / tileSide),
    left: Math.floor(x / tileSide),
    bottom: Math.min(tileRows, Math.ceil((y + height) / tileSide)),
    right: Math.min(tileColumns, Math.ceil((x + width) / tileSide)),
  };
}

/** The numbers of those tiles. */
export function* tileNumbers(header, region) {
  const { top, left, bottom, right } = tilesOf(header, region);
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) yield row * header.tileColumns + column;
  }
}

/** One file, as far as it has come. */
export class PartialPicture {
  /** Which bytes have come. */
  held = new ByteRanges();
  /** Of what came, how much was there before. */
  repeatedBytes = 0;
  #headerBytes;
  #offsets;
  #bytes;
  #header = null;
  #heads = new Map();

  /**
   * Throws `Unsupported` if it is more than a page holds.
   * @param {number} headerBytes Of the header.
   * @param {number[]} frameBytes Of each frame, head and payloads.
   */
  constructor(headerBytes, frameBytes) {
    this.#headerBytes = headerBytes;
    this.#offsets = [headerBytes];
    for (const size of frameBytes) this.#offsets.push(this.#offsets.at(-1) + size);
    const size = this.#offsets.at(-1) + END_BYTES;
    if (size > FILE_MAX_BYTES) throw new Unsupported(`a file of ${size} bytes is too large`, 0);
    this.#bytes = new Uint8Array(size);
  }

  get frames() {
    return this.#offsets.length - 1;
  }

  /** Of the whole file. */
  get sizeBytes() {
    return this.#bytes.length;
  }

  /** The file; zeros where nothing has come. */
  get bytes() {
    return this.#bytes;
  }

  /** Whether it is of this index. */
  isOf(headerBytes, frameBytes) {
    return (
      headerBytes === this.#headerBytes &&
      frameBytes.length === this.frames &&
      frameBytes.every((size, k) => size === this.#offsets[k + 1] - this.#offsets[k])
    );
  }

  /** Return the frame that a byte of the file is of; -1 for the header, or `frames`. */
  frameAt(offset) {
    if (offset < this.#headerBytes) return -1;
    let [low, high] = [0, this.frames];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#offsets[middle] <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Put in what has come; throws `Corrupt` if it lies outside the file. */
  put(offset, bytes) {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      throw new Corrupt(`bytes up to ${end} of a file of ${this.#bytes.length}`, offset);
    }
    this.#bytes.set(bytes, offset);
    this.repeatedBytes += bytes.length - this.held.add(offset, end);
  }

  /**
   * The header, or null until it is there; throws if it is damaged.
   * @returns {?import("./exact_file.js").ExactFormat}
   */
  get header() {
    if (!this.#header && this.held.covers(0, this.#headerBytes)) {
      const bytes = this.#bytes.subarray(0, this.#headerBytes);
      const cursor = new Cursor(bytes);
      const header = readHeader(cursor, bytes);
      if (header.frames !== this.frames || cursor.remaining) {
        throw new Corrupt("the header is not the one that the index is of", 0);
      }
      this.#header = header;
    }
    return this.#header;
  }

  /** Return how many steps of a tile of a frame are there without a gap. */
  tileSteps(frame, tile) {
    const head = this.#head(frame);
    if (!head) return 0;
    const header = this.#header;
    const covers = (place) => this.held.covers(head.starts[place], head.starts[place + 1]);
    if (head.kind !== KIND.tiles) {
      return this.held.covers(head.starts[0], head.starts.at(-1)) ? header.steps : 0;
    }
    for (let step = 0; step < header.steps; step++) {
      for (let k = 0; k < header.components.length; k++) {
        if (!covers(placeOf(header, step, k, tile))) return step;
      }
    }
    return header.steps;
  }

  /** Return how many steps of all tiles of a frame, or of a region's, are there. */
  steps(frame, region = null) {
    if (!this.#head(frame)) return 0;
    let least = this.#header.steps;
    for (const tile of tileNumbers(this.#header, region)) {
      least = Math.min(least, this.tileSteps(frame, tile));
      if (!least) break;
    }
    return least;
  }

  /** Whether all of a frame is there. */
  isWhole(frame) {
    return this.held.covers(this.#offsets[frame], this.#offsets[frame + 1]);
  }

  /**
   * Return a frame as coded, or null until its head is there: payloads that did not come are zeros.
   * @param {number} frame
   * @returns {?import("./exact_file.js").ExactFrame}
   */
  open(frame) {
    const head = this.#head(frame);
    if (!head) return null;
    const { kind, digest, checks, starts } = head;
    const payloads = Array.from({ length: starts.length - 1 }, (_, k) =>
      this.#bytes.subarray(starts[k], starts[k + 1]),
    );
    return { kind, digest, checks, payloads };
  }

  /** Read a frame's head once it is there; `starts` of its payloads in the file, and their end. */
  #head(frame) {
    const known = this.#heads.get(frame);
    if (known || !this.header) return known ?? null;
    const [start, end] = this.#offsets.slice(frame, frame + 2);
    const there = Math.min(this.held.reach(start), end);
    const cursor = new Cursor(this.#bytes.subarray(start, there), start);
    let read;
    try {
      read = readFrameHead(this.header, cursor);
    } catch (error) {
      if (error instanceof Truncated && there < end) return null;
      throw error;
    }
    const { sizes, ...head } = read;
    const starts = new Float64Array(sizes.length + 1);
    starts[0] = cursor.offset;
    sizes.forEach((size, k) => (starts[k + 1] = starts[k] + size));
    if (starts.at(-1) !== end) {
      throw new Corrupt(`frame ${frame} is of another size than the index says`, start);
    }
    const made = { ...head, starts };
    this.#heads.set(frame, made);
    return made;
  }
}
