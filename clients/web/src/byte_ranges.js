// Which bytes of a file are there: rtcodec/bitstream/byte_ranges.py.

/** A set of bytes by their offsets: as few ranges as will do, in order. */
export class ByteRanges {
  #starts = [];
  #ends = [];

  /** Give out [start, end] of each range, in order. */
  *[Symbol.iterator]() {
    for (let k = 0; k < this.#starts.length; k++) yield [this.#starts[k], this.#ends[k]];
  }

  /** How many bytes are there. */
  get sizeBytes() {
    return this.#ends.reduce((sum, end, k) => sum + end - this.#starts[k], 0);
  }

  /** Put in the bytes from `start` up to `end`; return how many of them were not there. */
  add(start, end) {
    if (start >= end) return 0;
    let added = end - start;
    const first = firstAbove(this.#ends, start - 1); // that reaches to where these begin
    const last = firstAbove(this.#starts, end);
    let [from, to] = [start, end];
    for (let k = first; k < last; k++) {
      added -= Math.max(0, Math.min(end, this.#ends[k]) - Math.max(start, this.#starts[k]));
      from = Math.min(from, this.#starts[k]);
      to = Math.max(to, this.#ends[k]);
    }
    this.#starts.splice(first, last - first, from);
    this.#ends.splice(first, last - first, to);
    return added;
  }

  /** Return whether all bytes from `start` up to `end` are there. */
  covers(start, end) {
    return start >= end || this.reach(start) >= end;
  }

  /** Return the end of what is there without a gap from `start` on: `start` if nothing is. */
  reach(start) {
    const at = firstAbove(this.#starts, start) - 1;
    return at >= 0 ? Math.max(start, this.#ends[at]) : start;
  }
}

/** Return the place of the first number above `value`: their count if there is none. */
function firstAbove(numbers, value) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}
