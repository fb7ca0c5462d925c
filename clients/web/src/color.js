// Planes to RGBA: rtcodec/media/color.py.

const BT709 = 1;
const BT601 = 6;
const KR_KB = {
  [BT709]: [0.2126, 0.0722],
  5: [0.299, 0.114],
  [BT601]: [0.299, 0.114],
  7: [0.212, 0.087],
  9: [0.2627, 0.0593],
}; // ITU-T H.273 table 4
const HD_HEIGHT_PX = 720;
const COLOR_WORDS = 12;

/**
 * How samples are meant.
 * @typedef {object} Color
 * @property {number} [matrix] ITU-T H.273; BT.709 from 720 lines on, else BT.601, if not known.
 * @property {boolean} [isFullRange] Else black is 16, as in video.
 */

/**
 * Convert a picture for showing.
 * @param {import("./machine.js").Machine} machine
 * @param {{ width: number, height: number, y: Uint8Array, u: Uint8Array, v: Uint8Array }} picture
 * @param {Color} color
 * @returns {Uint8ClampedArray} Red, green, blue and 255 of each sample.
 */
export function planesToRgba(machine, { width, height, y, u, v }, color) {
  const guess = height >= HD_HEIGHT_PX ? BT709 : BT601;
  const [kr, kb] = KR_KB[color.matrix ?? guess] ?? KR_KB[guess];
  const kg = 1 - kr - kb;
  const [black, luma, chroma] = color.isFullRange ? [0, 1, 1] : [16, 255 / 219, 255 / 224];
  const { mark } = machine;
  try {
    const planes = [y, u, v].map((plane) => machine.put(plane));
    const struct = machine.allocate(4 * COLOR_WORDS);
    const rgba = machine.allocate(4 * width * height);
    machine.view(Uint32Array, struct, 5).set([...planes, width, height]);
    machine
      .view(Float32Array, struct + 20, 6)
      .set([
        black,
        luma,
        2 * (1 - kr) * chroma,
        ((-2 * kb * (1 - kb)) / kg) * chroma,
        ((-2 * kr * (1 - kr)) / kg) * chroma,
        2 * (1 - kb) * chroma,
      ]);
    machine.call.rtc_web_rgba(struct, rgba);
    return machine.view(Uint8ClampedArray, rgba, 4 * width * height).slice();
  } finally {
    machine.release(mark);
  }
}
