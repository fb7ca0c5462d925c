// Puts frames in the order they were sent in: one that was repaired comes after those behind it.

import { unwrap16 } from "./carried.js";

const START = 64; // deliveries are counted from 0 on

/**
 * Hands frames on in order, and waits only so long for one that is missing.
 *
 * Time is an argument. After each `add` and whenever `deadlineMs` has passed, call `take` until it
 * returns null.
 */
export class FrameOrder {
  #patienceMs;
  #held = new Map(); // number -> {frame, atMs}
  #next = null;
  #first = null;

  /** Frames sent, as far as those that came tell. */
  seen = 0;
  /** Of those, frames that were given up. */
  lost = 0;
  /** Frames that came after they were given up, or twice. */
  late = 0;

  constructor(patienceMs) {
    this.#patienceMs = patienceMs;
  }

  /** When a missing frame is given up, or null while none is missing. */
  get deadlineMs() {
    if (!this.#held.size || this.#held.has(this.#next)) return null;
    return Math.min(...[...this.#held.values()].map(({ atMs }) => atMs)) + this.#patienceMs;
  }

  add(frame, nowMs) {
    // the first of all, a key frame, may be repaired and come after those that lean on it
    this.#first ??= this.#next = frame.delivery < START ? 0 : frame.delivery;
    const number = unwrap16(frame.delivery, this.#next);
    this.seen = Math.max(this.seen, number + 1 - this.#first);
    if (number < this.#next || this.#held.has(number)) this.late += 1;
    else this.#held.set(number, { frame, atMs: nowMs });
  }

  /** Return the next frame, or null if none may go on yet. */
  take(nowMs) {
    const deadlineMs = this.deadlineMs;
    if (deadlineMs !== null && nowMs >= deadlineMs) {
      const oldest = Math.min(...this.#held.keys());
      this.lost += oldest - this.#next;
      this.#next = oldest;
    }
    const found = this.#held.get(this.#next);
    if (!found) return null;
    this.#held.delete(this.#next);
    this.#next += 1;
    return found.frame;
  }
}
