// Messages of a study's data channel (docs/studies.md): what rtcodec/session/study_message.py has.
// What a viewer sends is written here, what the relay sends is read.

import { Cursor, writeVarint } from "./cursor.js";
import { Corrupt } from "./errors.js";

export const CHANNEL_LABEL = "study";

/** What a viewer shows of frames. */
export const QUALITY = { preview: 1, coarse: 2, verified: 3, notVerified: 4 };

const RANGES_IN_ONE = 1000; // of a HAVE: 14 bytes each, at most
const REQUEST_MAX = 2 ** 31 - 1;
const INSTANCE_MAX = 2 ** 24 - 1;
const FRAME_MAX = 2 ** 24;
const FILE_MAX_BYTES = 2 ** 40;
const REGION = 1;
const PREVIEW = 2;

const TYPE = { request: 0x01, cancel: 0x02, have: 0x03, fallback: 0x04, status: 0x05 };
const FROM_RELAY = {
  0x81: "list",
  0x82: "instance",
  0x83: "index",
  0x84: "preview",
  0x85: "data",
  0x86: "fallback",
  0x87: "done",
  0x88: "error",
};

/**
 * @typedef {object} Request What a viewer wants.
 * @property {number} request Its number.
 * @property {number} instance
 * @property {number} [priority] 0 first, to 255.
 * @property {number} [steps] 0 to 7.
 * @property {boolean} [preview] Whether that comes first.
 * @property {number} [firstFrame]
 * @property {number} [frames] 0: all from the first.
 * @property {?Rect} [region]
 *
 * @typedef {object} Rect A part of a frame, in samples.
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 */

/** @param {Request} wanted */
export function writeRequest(wanted) {
  const { request, instance, priority = 1, steps = 7, preview = false } = wanted;
  const { firstFrame = 0, frames = 0, region = null } = wanted;
  const flags = (region ? REGION : 0) | (preview ? PREVIEW : 0);
  const box = region ? [region.x, region.y, region.width, region.height] : [];
  return Uint8Array.from([
    ...[TYPE.request, ...varints(request, instance), priority, steps, flags],
    ...varints(firstFrame, frames, ...box),
  ]);
}

export function writeCancel(request) {
  return Uint8Array.from([TYPE.cancel, ...varints(request)]);
}

/**
 * Write what is held of an instance: as many messages as it takes, none for nothing.
 * @param {number} instance
 * @param {string} version Hexadecimal, as the relay has it.
 * @param {Iterable<[number, number]>} ranges [start, end], in order.
 * @returns {Uint8Array<ArrayBuffer>[]}
 */
export function writeHave(instance, version, ranges) {
  const digits = version.match(/../g) ?? [];
  const head = [TYPE.have, ...varints(instance), ...digits.map((two) => Number.parseInt(two, 16))];
  const all = [...ranges];
  const messages = [];
  for (let first = 0; first < all.length; first += RANGES_IN_ONE) {
    let last = 0;
    const gaps = all.slice(first, first + RANGES_IN_ONE).flatMap(([start, end]) => {
      const pair = [start - last, end - start];
      last = end;
      return pair;
    });
    messages.push(Uint8Array.from([...head, ...varints(...gaps)]));
  }
  return messages;
}

/** Ask for a frame that did not come out as it must. */
export function writeWantFallback(instance, frame) {
  return Uint8Array.from([TYPE.fallback, ...varints(instance, frame)]);
}

/** Tell what is shown: one of `QUALITY`. */
export function writeStatus(instance, firstFrame, frames, quality) {
  return Uint8Array.from([TYPE.status, ...varints(instance, firstFrame, frames), quality]);
}

/**
 * Read a message of the relay; null for a type of a later version.
 *
 * Throws `Corrupt` if it is malformed. Bytes in what is returned are views of `bytes`.
 * @param {Uint8Array} bytes
 * @returns {any} By `kind`: list, instance and error have `fields`; the others what is in
 *   docs/studies.md.
 */
export function readFromRelay(bytes) {
  const cursor = new Cursor(bytes, 0, true);
  const kind = FROM_RELAY[cursor.u8()];
  switch (kind) {
    case undefined:
      return null;
    case "list":
    case "instance":
    case "error":
      return { kind, fields: readJson(cursor) };
    case "done":
      return { kind, request: cursor.varint(REQUEST_MAX) };
  }
  const instance = cursor.varint(INSTANCE_MAX);
  return { kind, instance, ...READERS[kind](cursor) };
}

const READERS = {
  index(cursor) {
    const headerBytes = cursor.varint(FILE_MAX_BYTES);
    const length = cursor.varint(Math.min(FRAME_MAX, cursor.remaining));
    return { headerBytes, frameBytes: readTimes(length, () => cursor.varint(FILE_MAX_BYTES)) };
  },
  preview(cursor) {
    const frame = cursor.varint(FRAME_MAX);
    const [width, height] = [cursor.u16(), cursor.u16()];
    const packets = [];
    while (cursor.remaining) packets.push(cursor.raw(cursor.varint(cursor.remaining)));
    return { frame, width, height, packets };
  },
  data(cursor) {
    const parts = [];
    while (cursor.remaining) {
      const offset = cursor.varint(FILE_MAX_BYTES);
      parts.push({ offset, bytes: cursor.raw(cursor.varint(cursor.remaining)) });
    }
    return { parts };
  },
  fallback(cursor) {
    const frame = cursor.varint(FRAME_MAX);
    const [totalBytes, offset] = readTimes(2, () => cursor.varint(FILE_MAX_BYTES));
    return { frame, totalBytes, offset, bytes: cursor.raw(cursor.remaining) };
  },
};

const readTimes = (length, read) => Array.from({ length }, read);
const varints = (...numbers) => numbers.flatMap(writeVarint);

function readJson(cursor) {
  const at = cursor.offset;
  let fields;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(cursor.raw(cursor.remaining));
    fields = JSON.parse(text);
  } catch {
    throw new Corrupt("not JSON", at);
  }
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) {
    throw new Corrupt("not a JSON object", at);
  }
  return fields;
}
