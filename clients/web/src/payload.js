// Payloads of X-RTC-LATENT, as they come over a data channel (rtcodec/packet/payload.py has them).

import { Malformed, readTiming, unwrap16 } from "./carried.js";

const HEADER_BYTES = 7;
const TIMING_BYTES = 28;
const MAX_FRAMES = 16; // incomplete ones; the relay sends one after the other

/**
 * Parse one message.
 *
 * Returns `{delivery, index, count, starts, ends, isKeyframe, timing, data}`: `starts` and `ends` say
 * whether a bitstream packet does with it; `timing` is null but in the first of a frame. Throws
 * `Malformed`.
 */
export function readPayload(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES) throw new Malformed("the header is incomplete");
  const flags = bytes[0];
  if (flags >> 6 !== 1) throw new Malformed(`version ${flags >> 6}`);
  if (flags & 0x03) throw new Malformed("reserved flags are set");
  const [delivery, index, count] = [1, 3, 5].map((at) => view.getUint16(at));
  if (index >= count) throw new Malformed(`payload ${index} of ${count}`);
  const hasTiming = Boolean(flags & 0x20);
  if (hasTiming && index) throw new Malformed(`timing in payload ${index}`);
  const start = HEADER_BYTES + (hasTiming ? TIMING_BYTES : 0);
  if (bytes.length <= start) throw new Malformed("no data");
  return {
    delivery,
    index,
    count,
    starts: Boolean(flags & 0x10),
    ends: Boolean(flags & 0x08),
    isKeyframe: Boolean(flags & 0x04),
    timing: hasTiming ? readTiming(view, HEADER_BYTES) : null,
    data: bytes.subarray(start),
  };
}

/**
 * Puts frames together from payloads in any order; time is an argument.
 *
 * A frame is whole when all of it came. One of which a payload is missing is given up after
 * `patienceMs`: what came of it is of use all the same.
 */
export class FrameAssembly {
  #patienceMs;
  #frames = new Map(); // delivery -> {count, payloads by index, sinceMs}, the oldest first
  #givenUp = null; // delivery of the last

  constructor(patienceMs) {
    this.#patienceMs = patienceMs;
  }

  /** When the oldest incomplete frame is given up, or null without one. */
  get deadlineMs() {
    const [oldest] = this.#frames.values();
    return oldest ? oldest.sinceMs + this.#patienceMs : null;
  }

  /** Take a payload; return its frame if that is whole now, or null. */
  add(payload, nowMs) {
    const { delivery, count } = payload;
    const last = this.#givenUp;
    if (last !== null && unwrap16(delivery, last) <= last) return null; // it came too late
    const frame = this.#frames.get(delivery) ?? { count, payloads: new Map(), sinceMs: nowMs };
    this.#frames.set(delivery, frame);
    frame.payloads.set(payload.index, payload);
    if (frame.payloads.size < frame.count) return null;
    this.#frames.delete(delivery);
    return join(delivery, frame);
  }

  /** Return a frame that is given up, as far as it came, or null if none is yet. */
  giveUp(nowMs) {
    const [first] = this.#frames;
    if (!first || (nowMs < this.deadlineMs && this.#frames.size <= MAX_FRAMES)) return null;
    const [delivery, frame] = first;
    this.#frames.delete(delivery);
    this.#givenUp = delivery;
    return join(delivery, frame);
  }
}

/**
 * Return `{delivery, isKeyframe, timing, packets, count, missing}`: packets that are whole; payloads
 * sent, and how many of them are missing.
 */
function join(delivery, { count, payloads }) {
  const packets = [];
  let parts = null; // of a packet whose beginning is there
  for (let index = 0; index < count; index += 1) {
    const payload = payloads.get(index);
    if (payload?.starts) parts = [];
    if (!payload) parts = null;
    parts?.push(payload.data);
    if (!payload?.ends) continue;
    if (parts) packets.push(concatenate(parts));
    parts = null;
  }
  const [first] = payloads.values();
  return {
    delivery,
    isKeyframe: first.isKeyframe,
    timing: payloads.get(0)?.timing ?? null,
    packets,
    count,
    missing: count - payloads.size,
  };
}

function concatenate(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
