// What is wrong with bytes from outside; the same three kinds as in rtcodec/errors.py.

/** Bytes from outside do not form a valid stream. */
export class BitstreamError extends Error {
  /**
   * @param {string} message What is wrong.
   * @param {number} offset Where reading stopped, in bytes.
   */
  constructor(message, offset) {
    super(`${message} (at byte ${offset})`);
    this.name = new.target.name;
    /** Where reading stopped, in bytes. */
    this.offset = offset;
    /**
     * What would help: a frame that can be decoded alone, or nothing.
     * @type {null | "keyframe"}
     */
    this.needs = null;
    /** Number of the frame that needs it. */
    this.unheldFrame = NaN;
  }
}

/** The bytes end too early; a continuation could make them valid. */
export class Truncated extends BitstreamError {}

/** No continuation can make the bytes valid. */
export class Corrupt extends BitstreamError {}

/** The bytes may be valid, but this reader does not know how to read them. */
export class Unsupported extends BitstreamError {}
