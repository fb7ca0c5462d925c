// A position in bytes from outside, as rtcodec/bitstream/cursor.py has it.

import { Corrupt, Truncated } from "./errors.js";

/** Reads fixed numbers and varints; never moves beyond the end. */
export class Cursor {
  #bytes;
  #position = 0;
  #origin;
  #Overrun;

  /**
   * @param {Uint8Array} bytes What may be read.
   * @param {number} [origin] Offset of `bytes` in what errors count from.
   * @param {boolean} [bounded] Whether the end of `bytes` is the end of a structure.
   */
  constructor(bytes, origin = 0, bounded = false) {
    this.#bytes = bytes;
    this.#origin = origin;
    this.#Overrun = bounded ? Corrupt : Truncated;
  }

  /** Where the next byte is read, counted from the origin. */
  get offset() {
    return this.#origin + this.#position;
  }

  /** Bytes left. */
  get remaining() {
    return this.#bytes.length - this.#position;
  }

  u8() {
    return this.#bytes[this.#advance(1)];
  }

  u16() {
    const at = this.#advance(2);
    return this.#bytes[at] * 256 + this.#bytes[at + 1];
  }

  u32() {
    const at = this.#advance(4);
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at).getUint32(0);
  }

  /** The next `size` bytes, a view. */
  raw(size) {
    const at = this.#advance(size);
    return this.#bytes.subarray(at, at + size);
  }

  /** The byte `ahead` of the position; nothing is stepped over. */
  peek(ahead) {
    const start = this.#position;
    const at = this.#advance(ahead + 1) + ahead;
    this.#position = start;
    return this.#bytes[at];
  }

  /**
   * A number of 0 to `limit`, which is below 2**49.
   * @param {number} limit
   */
  varint(limit) {
    return Number(this.bigVarint(BigInt(limit)));
  }

  /** @param {bigint} limit */
  bigVarint(limit) {
    const start = this.offset;
    let value = 0n;
    for (let shift = 0n; ;) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      const goesOn = (byte & 0x80) !== 0;
      if (value > limit || (goesOn && 1n << shift > limit)) {
        throw new Corrupt(`a number exceeds ${limit}`, start);
      }
      if (goesOn) continue;
      if (byte === 0 && shift > 7n)
        throw new Corrupt("a number is not in its shortest form", start);
      return value;
    }
  }

  /** A cursor over the next `size` bytes, a structure, which are stepped over. */
  inner(size) {
    const at = this.#advance(size);
    return new Cursor(this.#bytes.subarray(at, at + size), this.#origin + at, true);
  }

  /** Check that nothing is left. */
  end(what) {
    if (this.remaining) throw new Corrupt(`${this.remaining} bytes after the ${what}`, this.offset);
  }

  #advance(size) {
    const start = this.#position;
    if (size > this.remaining) {
      const message = `${size} bytes are needed, ${this.remaining} are left`;
      throw new this.#Overrun(message, this.#origin + this.#bytes.length);
    }
    this.#position = start + size;
    return start;
  }
}

/** Write a number of 0 to below 2**53 as `Cursor.varint` reads it: an array of bytes. */
export function writeVarint(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return [...bytes, value];
}
