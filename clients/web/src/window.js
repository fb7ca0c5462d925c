// Samples at full depth to what a screen shows: windows and tables of DICOM, PS3.3 C.11.1, C.11.2 and
// C.7.6.3.1.
// Eight bits are of the screen alone: what is windowed are the samples themselves.

import { leastSample } from "./exact.js";
import { look, readLutSequence, readPalette } from "./lut.js";

const FUNCTIONS = ["LINEAR", "LINEAR_EXACT", "SIGMOID"];

/**
 * @typedef {object} Window
 * @property {number} center In rescaled values.
 * @property {number} width At least 1.
 *
 * @typedef {{ lut: import("./lut.js").Lut }} Table In place of a window.
 *
 * @typedef {object} Display What else says how samples are shown.
 * @property {number} slope Of rescaled values.
 * @property {number} intercept
 * @property {boolean} isInverted Whether the least is white: MONOCHROME1.
 * @property {string} photometric
 * @property {?(Window | Table)} window The file's own.
 * @property {string} voiFunction How a window makes shades: one of `FUNCTIONS`.
 * @property {?import("./lut.js").Lut} modalityLut In place of slope and intercept.
 * @property {?import("./lut.js").Palette} palette Of samples that are numbers of colours.
 * @property {?number} frameMs Between frames.
 */

/** Read a file's notes, rtcodec/dicom: null where they say nothing that can be used. */
async function readNotes(notes) {
  try {
    const stream = new Blob([notes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  } catch {
    return null;
  }
}

/**
 * Read how a picture wants to be shown.
 * @param {import("./exact_file.js").ExactFormat} header
 * @returns {Promise<Display>}
 */
export async function readDisplay(header) {
  const notes = await readNotes(header.notes);
  const tags = notes?.tags ?? {};
  const first = (tag) => {
    const value = Number.parseFloat(tags[tag]?.Value?.[0]);
    return Number.isFinite(value) ? value : null;
  };
  const photometric =
    notes?.photometric ?? (header.channels === 3 ? "RGB" : "MONOCHROME2");
  const [center, width] = [first("00281050"), first("00281051")];
  const isWindow = center !== null && width !== null && width >= 1;
  const modalityLut = readLutSequence(tags["00283000"], header.signed);
  // of what the samples stand for, which is below nothing only where it is rescaled or signed
  const isSigned = !modalityLut && (header.signed || first("00281052") < 0);
  const lut = isWindow ? null : readLutSequence(tags["00283010"], isSigned);
  const stated = tags["00281056"]?.Value?.[0];
  return {
    slope: first("00281053") || 1,
    intercept: first("00281052") ?? 0,
    isInverted: photometric === "MONOCHROME1",
    photometric,
    window: isWindow ? { center, width } : lut && { lut },
    voiFunction: FUNCTIONS.includes(stated) ? stated : FUNCTIONS[0],
    modalityLut,
    palette: photometric === "PALETTE COLOR" ? readPalette(tags, header.signed) : null,
    frameMs: first("00181063"),
  };
}

/** Return what a sample of a grey picture stands for. */
export function rescale({ slope, intercept, modalityLut }, sample) {
  return modalityLut ? look(modalityLut, sample) : sample * slope + intercept;
}

/** Return the window from the least to the largest sample; what stands for nothing is left out. */
export function wholeWindow(header, display, samples) {
  const { low, pad } = header.components[0];
  const number = pad === null ? null : pad + low;
  const nothing = number !== null && header.palette ? header.palette[number] : number;
  let [least, most] = [Infinity, -Infinity];
  for (const sample of samples) {
    if (sample === nothing) continue;
    if (sample < least) least = sample;
    if (sample > most) most = sample;
  }
  if (least > most) [least, most] = [nothing, nothing];
  const [a, b] = [least, most].map((sample) => rescale(display, sample));
  return { center: (a + b + 1) / 2, width: Math.abs(b - a) + 1 };
}

/**
 * Return the grey, 0 to 255, of a rescaled value.
 * @param {any} window A window, or a table.
 * @param {number} value
 * @param {string} [voiFunction]
 */
export function grey({ center, width, lut }, value, voiFunction = "LINEAR") {
  if (lut) return Math.round((Math.min(look(lut, value), lut.most) * 255) / lut.most);
  if (voiFunction === "SIGMOID") {
    return Math.round(255 / (1 + Math.exp((-4 * (value - center)) / width)));
  }
  if (voiFunction === "LINEAR_EXACT") {
    return Math.round(Math.min(Math.max((value - center) / width + 0.5, 0), 1) * 255);
  }
  if (value <= center - 0.5 - (width - 1) / 2) return 0;
  if (value > center - 0.5 + (width - 1) / 2) return 255;
  return Math.round(((value - (center - 0.5)) / (width - 1) + 0.5) * 255);
}

/**
 * Show samples.
 * @param {import("./exact_file.js").ExactFormat} header
 * @param {Display} display
 * @param {Window | Table} window
 * @param {import("./exact.js").Samples} samples A frame.
 * @param {Uint8ClampedArray} rgba For as many pixels; of colours the window is not asked.
 * @param {Uint32Array} [pixels] Of `pixelsOf`, where it was made before.
 */
export function show(header, display, window, samples, rgba, pixels) {
  if (header.channels === 3) {
    showColors(header, display, samples, rgba);
    return;
  }
  const lookup = pixels ?? pixelsOf(header, display, window);
  const n = header.channels;
  const least = leastSample(header);
  const shown = new Uint32Array(rgba.buffer, rgba.byteOffset, rgba.length / 4);
  for (let k = 0; k < shown.length; k++) shown[k] = lookup[samples[k * n] - least];
}

/** Return the pixel, 0xffBBGGRR, of each sample that a picture of one component may have. */
export function pixelsOf(header, display, window) {
  const { palette, isInverted, voiFunction } = display;
  const least = leastSample(header);
  const pixels = new Uint32Array(2 ** header.bits);
  for (let k = 0; k < pixels.length; k++) {
    const sample = k + least;
    if (palette) {
      const [r, g, b] = palette.map((lut) => grey({ lut }, sample));
      pixels[k] = 0xff000000 + 0x10000 * b + 0x100 * g + r;
    } else {
      const value = grey(window, rescale(display, sample), voiFunction);
      pixels[k] = 0xff000000 + 0x010101 * (isInverted ? 255 - value : value);
    }
  }
  return pixels;
}

function showColors(header, { photometric }, samples, rgba) {
  const least = leastSample(header);
  const scale = 255 / (2 ** header.bits - 1);
  const isYbr = photometric.startsWith("YBR");
  for (let from = 0, to = 0; from < samples.length; from += 3, to += 4) {
    let [r, g, b] = [0, 1, 2].map((k) => (samples[from + k] - least) * scale);
    if (isYbr) {
      const [y, cb, cr] = [r, g - 128, b - 128];
      [r, g, b] = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb];
    }
    [rgba[to], rgba[to + 1], rgba[to + 2], rgba[to + 3]] = [r, g, b, 255];
  }
}

/** Where a picture lies in an area: its scale, and the place of its top left corner in pixels. */
export class Place {
  scale = 1;
  x = 0;
  y = 0;

  /** Show all of it, in the middle. */
  fit(width, height, areaWidth, areaHeight) {
    this.scale = Math.min(areaWidth / width, areaHeight / height);
    this.x = (areaWidth - width * this.scale) / 2;
    this.y = (areaHeight - height * this.scale) / 2;
  }

  /** Enlarge around a point of the area, which stays where it is. */
  zoom(factor, x, y) {
    const scale = Math.min(64, Math.max(1 / 64, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
  }

  /**
   * Return which part of the picture is seen in the area, null if that is all of it or nothing.
   * @returns {?import("./study_message.js").Rect}
   */
  seen(width, height, areaWidth, areaHeight) {
    const [left, top] = [-this.x, -this.y].map((at) => Math.max(0, Math.floor(at / this.scale)));
    const right = Math.min(width, Math.ceil((areaWidth - this.x) / this.scale));
    const bottom = Math.min(height, Math.ceil((areaHeight - this.y) / this.scale));
    const isAll = left === 0 && top === 0 && right === width && bottom === height;
    if (isAll || right <= left || bottom <= top) return null;
    return { x: left, y: top, width: right - left, height: bottom - top };
  }

  /** Return which row and column of the picture is at a point of the area. */
  at(x, y) {
    return {
      row: Math.floor((y - this.y) / this.scale),
      column: Math.floor((x - this.x) / this.scale),
    };
  }
}
