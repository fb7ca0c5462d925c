// What the tab tells the relay of the frames it holds (rtcodec/packet/feedback.py has the layout).

import { unwrap16 } from "./carried.js";

const WORDS = 2; // how far back a report goes, in units of 32 frames
const FRAMES = 32 * WORDS;
const INTERVAL_MS = 50;
const CALM_FRAMES = 32;

/** Asks for a key frame: RTCP's requests are the browser's, which sends them when it likes. */
export const KEYFRAME_REQUEST = new TextEncoder().encode("RTCK");

/** Says that this page runs, where no RTCP of the browser's does. */
export const STILL_HERE = new TextEncoder().encode("RTCH");

/** Lay out a report: `held` is an array of 64 booleans, the newest frame first. */
export function writeReport(newest, held, damage) {
  const data = new Uint8Array(8 + 4 * WORDS);
  const view = new DataView(data.buffer);
  data.set([0x52, 0x54, 0x43, 0x4c, 1, damage]); // "RTCL", version
  view.setUint16(6, newest);
  held.forEach((isHeld, back) => {
    if (isHeld) data[data.length - 1 - (back >> 3)] |= 1 << (back & 7);
  });
  return data;
}

/**
 * Decides when to report, and what; time is an argument.
 *
 * At once when a frame is not held and for the next 32, else every 50 ms while frames come.
 */
export class FrameReporter {
  #newest = null;
  #held = new Array(FRAMES).fill(false);
  #damage = 0;
  #broken = null;
  #reportedMs = null;

  /** Note what became of a frame, and return the report to send now, or null. */
  decided(frameNumber, { isHeld, concealed, nowMs }) {
    const last = this.#newest;
    const number = last === null ? frameNumber : unwrap16(frameNumber, last);
    if (last !== null && number <= last) return null;
    const skipped = last === null ? 0 : number - last - 1;
    const gap = new Array(Math.min(skipped, FRAMES)).fill(false);
    this.#held = [isHeld, ...gap, ...this.#held].slice(0, FRAMES);
    this.#damage = isHeld ? 0 : Math.min(255, Math.ceil(concealed * 255));
    this.#newest = number;
    if (skipped || !isHeld) this.#broken = number;
    const isCalm = this.#broken === null || number - this.#broken > CALM_FRAMES;
    const isDue = this.#reportedMs === null || nowMs >= this.#reportedMs + INTERVAL_MS;
    if (isCalm && !isDue) return null;
    this.#reportedMs = nowMs;
    return writeReport(number & 0xffff, this.#held, this.#damage);
  }
}
