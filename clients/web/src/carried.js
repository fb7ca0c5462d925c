// Frames of latents as the relay wraps them in VP8 (rtcodec/packet/vp8_carrier.py says how).

const VP8_BYTES = 10;
const FIXED_BYTES = VP8_BYTES + 2 + 1 + 28;
const STAGE_UNIT_MS = 0.05;
const LATE = 1024; // frames; what comes later than that comes to nobody
const AGE_UNKNOWN = 0xffffffff;
const STAGES = ["receive", "decode", "queue", "batch", "engine", "entropy"];

/** Bytes that do not form a frame of ours. */
export class Malformed extends Error {}

/**
 * Parse one frame.
 *
 * Returns `{delivery, isKeyframe, timing, packets}`: `delivery` counts frames sent to this tab,
 * modulo 65536; `packets` are views of `data`. Throws `Malformed`.
 */
export function readCarried(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < FIXED_BYTES) throw new Malformed("the header is incomplete");
  const isOurs = !(data[0] & 1) && data[3] === 0x9d && data[4] === 0x01 && data[5] === 0x2a;
  if (!isOurs) throw new Malformed("not a VP8 key frame");
  const flags = data[VP8_BYTES + 2];
  if (flags >> 6 !== 1) throw new Malformed(`version ${flags >> 6}`);
  if (flags & 0x1f) throw new Malformed("reserved flags are set");
  const packets = [];
  let at = FIXED_BYTES;
  while (at < data.length) {
    if (data.length < at + 4) throw new Malformed("a length is incomplete");
    const end = at + 4 + view.getUint32(at);
    if (end === at + 4) throw new Malformed("an empty packet");
    if (end > data.length) throw new Malformed("a packet is incomplete");
    packets.push(data.subarray(at + 4, end));
    at = end;
  }
  if (!packets.length) throw new Malformed("no packet");
  return {
    delivery: view.getUint16(VP8_BYTES),
    isKeyframe: Boolean(flags & 0x20),
    timing: readTiming(view, VP8_BYTES + 3),
    packets,
  };
}

/** Read, of 28 bytes, when the publisher took a frame and how long the relay worked on it. */
export function readTiming(view, at) {
  const receivedMs = Number(view.getBigUint64(at + 4)) / 1000;
  const ageUs = view.getUint32(at + 12);
  const stagesMs = {};
  STAGES.forEach((name, index) => {
    stagesMs[name] = view.getUint16(at + 16 + 2 * index) * STAGE_UNIT_MS;
  });
  return {
    pts: view.getUint32(at),
    receivedMs,
    captureMs: ageUs === AGE_UNKNOWN ? null : receivedMs - ageUs / 1000,
    stagesMs,
  };
}

/**
 * Return the number whose low 16 bits are `low`: a little before `near`, or else after it, however
 * far. A tab that slept for half an hour has missed more than half of them.
 */
export function unwrap16(low, near) {
  const step = (low - near) & 0xffff;
  return near + (step < 0x10000 - LATE ? step : step - 0x10000);
}
