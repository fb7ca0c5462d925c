// Look-up tables of DICOM, as a file's notes have them: of stored values, of windows, of colours
// (PS3.3 C.11.1, C.11.2 and C.7.6.3.1.5).

const ENTRIES_MAX = 65536;

/**
 * @typedef {object} Lut
 * @property {number} first The value that the first entry is for; lower ones get it too.
 * @property {Uint16Array} entries The last is for all higher values.
 * @property {number} most What an entry can be.
 *
 * @typedef {[Lut, Lut, Lut]} Palette Red, green, blue.
 */

/** Return what a table makes of a value. */
export function look({ first, entries }, value) {
  return entries[Math.min(Math.max(Math.round(value) - first, 0), entries.length - 1)];
}

/**
 * Read a table, or null where it makes no sense.
 * @param {any} descriptor An element: how many, the first value, bits of an entry.
 * @param {any} data An element of numbers, or of bytes in base64.
 * @param {boolean} isSigned Whether the values that it is for may be negative.
 * @returns {?Lut}
 */
export function readLut(descriptor, data, isSigned) {
  const [stated, start, bits] = descriptor?.Value ?? [];
  const count = stated === 0 ? ENTRIES_MAX : stated; // 16 bits hold no more
  const isGiven = [count, start, bits].every(Number.isInteger);
  if (!isGiven || count < 1 || count > ENTRIES_MAX || bits < 8 || bits > 16) return null;
  const entries = readEntries(data, count);
  if (!entries) return null;
  const first = isSigned && start >= ENTRIES_MAX / 2 ? start - ENTRIES_MAX : start;
  return { first, entries, most: 2 ** bits - 1 };
}

/** Read the table of a sequence's first item. */
export function readLutSequence(sequence, isSigned) {
  const item = sequence?.Value?.[0];
  return item ? readLut(item["00283002"], item["00283006"], isSigned) : null;
}

/** @returns {?Palette} */
export function readPalette(tags, isSigned) {
  const tables = [1, 2, 3].map((k) => readLut(tags[`0028110${k}`], tags[`0028120${k}`], isSigned));
  return tables.every(Boolean) ? /** @type {Palette} */ (tables) : null;
}

function readEntries(data, count) {
  if (Array.isArray(data?.Value)) {
    return data.Value.length === count ? Uint16Array.from(data.Value) : null;
  }
  let bytes;
  try {
    bytes = Uint8Array.from(atob(data.InlineBinary), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
  if (bytes.length >= 2 * count) {
    return Uint16Array.from({ length: count }, (_, k) => bytes[2 * k] + 256 * bytes[2 * k + 1]);
  }
  return bytes.length >= count ? Uint16Array.from(bytes.subarray(0, count)) : null;
}
