// Previews of studies: stills of the neural codec, decoded where the relay's model is the one that
// they were made with.

import { createDecoder } from "./decoder.js";
import { BitstreamError } from "./errors.js";

const COLOR = { isFullRange: true, matrix: 6 }; // as rtcodec_server/study_preview.py makes them

/** Decodes previews; until the model is loaded, and where there is none, none. */
export class PreviewDecoder {
  #listing;
  #decoder = null;
  #model = null;
  #isOver = false;
  #onReady;

  /**
   * @param {string} url Of the list of wasm and model.
   * @param {() => void} onReady Called once previews can be decoded.
   */
  constructor(url, onReady) {
    this.#onReady = onReady;
    this.#listing = this.#load(url).catch(() => (this.#isOver = true)); // studies do without
  }

  /** Resolves when it is known whether there is a model. */
  get known() {
    return this.#listing;
  }

  /** Whether a preview of a frame is there or on its way, and can be decoded. */
  mayShow(picture, frame) {
    const { preview: about } = picture.about;
    if (this.#isOver || !this.#model || about === null) return false;
    return about === undefined || (about.model === this.#model && about.frame === frame);
  }

  /**
   * Return the preview of a frame, or null.
   * @returns {?{ width: number, height: number, rgba: Uint8ClampedArray<ArrayBuffer> }}
   */
  decode(picture, frame) {
    if (!this.#decoder || picture.preview?.frame !== frame || !this.mayShow(picture, frame)) {
      return null;
    }
    try {
      const { width, height, ...planes } = this.#decoder.decode(picture.preview.packets);
      return { width, height, rgba: this.#decoder.toRgba({ width, height, ...planes }, COLOR) };
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      picture.preview = null;
      return null;
    }
  }

  async #load(url) {
    const listing = await (await fetch(url)).json();
    this.#isOver = Boolean(listing.missing);
    if (this.#isOver) return;
    this.#model = listing.model.name;
    const files = [listing.wasm.url, listing.model.url].map((file) => new URL(file, url));
    Promise.all(files.map(async (file) => (await fetch(file)).arrayBuffer()))
      .then(async ([wasm, model]) => {
        this.#decoder = await createDecoder({ wasm, model });
        this.#onReady();
      })
      .catch(() => (this.#isOver = true));
  }
}
