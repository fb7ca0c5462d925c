// What is decoded so far of one frame that is still coming.

import { newFrame, placeTile } from "./exact.js";
import { KIND } from "./exact_file.js";
import { tileNumbers } from "./exact_partial.js";

/** Decodes tiles of a frame again as soon as more of them has come. */
export class FrameProgress {
  #header;
  #decoder;
  #part;
  #frame;
  #steps;

  /**
   * @param {import("./exact.js").ExactDecoder} decoder Of the picture.
   * @param {import("./exact_partial.js").PartialPicture} part With its header.
   * @param {number} frame
   */
  constructor(decoder, part, frame) {
    const header = part.header;
    this.#header = header;
    this.#decoder = decoder;
    this.#part = part;
    this.#frame = frame;
    this.#steps = new Uint8Array(header.tileRows * header.tileColumns);
    /**
     * Tiles that are whole, each held against its check words; the others are zeros.
     * @type {import("./exact.js").Samples}
     */
    this.samples = newFrame(header);
  }

  /** How many steps are decoded of all tiles of a region, or of the frame. */
  steps(region = null) {
    let least = this.#header.steps;
    for (const tile of tileNumbers(this.#header, region)) {
      least = Math.min(least, this.#steps[tile]);
    }
    return least;
  }

  /**
   * Decode tiles of which more has come, those of a region first.
   *
   * Throws `Corrupt` where a payload is damaged.
   * @param {?import("./study_message.js").Rect} region
   * @param {number} most Steps, of each.
   * @returns {Generator<import("./exact.js").Tile>}
   */
  *advance(region, most = this.#header.steps) {
    const all = this.#header.steps;
    const coded = this.#part.open(this.#frame);
    if (!coded) return;
    if (coded.kind !== KIND.tiles) {
      if (this.#part.tileSteps(this.#frame, 0) === all && this.steps() < all) {
        yield this.#whole(coded);
      }
      return;
    }
    const first = new Set(region ? tileNumbers(this.#header, region) : []);
    const rest = [...tileNumbers(this.#header, null)].filter((tile) => !first.has(tile));
    for (const number of [...first, ...rest]) {
      if (this.#steps[number] === all) continue;
      const steps = Math.min(most, this.#part.tileSteps(this.#frame, number));
      if (steps <= this.#steps[number]) continue;
      const tile = this.#decoder.decodeTile(coded, number, steps);
      this.#steps[number] = steps;
      if (steps === all) placeTile(this.#header, this.samples, tile);
      yield tile;
    }
  }

  #whole(coded) {
    this.samples = this.#decoder.decodeFrame(coded);
    this.#steps.fill(this.#header.steps);
    const { width: columns, height: rows } = this.#header;
    return { top: 0, left: 0, spacing: 1, rows, columns, samples: this.samples.slice() };
  }
}
