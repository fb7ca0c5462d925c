// The decoder of rtcodec in a page, a worker or node: packets of one frame in, planes out, as
// rtcodec/codec/picture_decoder.py has it. Bytes from outside end in a picture or a BitstreamError.

import { planesToRgba } from "./color.js";
import { BitstreamError, Corrupt, Truncated, Unsupported } from "./errors.js";
import { Machine } from "./machine.js";
import { Model } from "./model.js";
import { Networks } from "./networks.js";
import { readPacket, slotOf } from "./packet.js";
import { Painter, Refinement } from "./painter.js";
import { Part } from "./part.js";
import { References } from "./references.js";
import { COPY_BYTES, unpackFrame } from "./unpack.js";

export { BitstreamError, Corrupt, Truncated, Unsupported } from "./errors.js";

/** A frame that claims to be larger is refused: sizes from the network are only claims. */
export const DECODED_PIXELS_MAX = 4096 * 2304;

const PAYLOAD_BYTES = 2 ** 18; // of a frame, usually
const INTEGER_BYTES = 16 * 3; // of a channel of a tile: indices and symbols
const SHOWN_BYTES = 6; // of a pixel: RGBA and planes

/**
 * One frame, decoded as far as it came through.
 * @typedef {object} Frame
 * @property {number} width
 * @property {number} height
 * @property {?number} pts As it was given to `decode`: packets carry none.
 * @property {number} frameNumber Of the bitstream, modulo 65536.
 * @property {boolean} isKey
 * @property {number} qp 0 (finest) to 63.
 * @property {number} rung Which coding of the stream it is of, 0 the finest.
 * @property {?number} reference Id of the state it is predicted from; null: none.
 * @property {?number} store Id of the state it leaves behind; null: none.
 * @property {Uint8Array} y Luma, [height][width]; these three are yours.
 * @property {Uint8Array} u [ceil(height / 2)][ceil(width / 2)].
 * @property {Uint8Array} v
 * @property {number} present Share of its tiles that came, 0 to 1; the others are made up.
 * @property {boolean} isTrusted Whether all it was predicted from is what the sender had.
 * @property {boolean} isComplete Whether it is the sender's picture: what feedback calls held.
 * @property {null | "feedback"} needs What would help: telling the sender that this is not held. (An
 *   error may need a "keyframe".)
 *
 * @typedef {object} Options
 * @property {?number} [pts] Given back with the frame.
 * @property {?{ width: number, height: number }} [size] Of frames whose packets do not say theirs, as in
 *   files.
 */

/**
 * Get a decoder ready.
 * @param {object} given
 * @param {ArrayBuffer | WebAssembly.Module} given.wasm What `python -m rtcodec.entropy.build` makes.
 * @param {ArrayBuffer} given.model What `rtcodec webmodel` writes.
 * @param {number} [given.pixelsMax] Largest frame taken, width times height.
 * @param {() => number} [given.clock] To measure stages by, in milliseconds; see `Decoder.stages`.
 * @returns {Promise<Decoder>} Error if the model is damaged or of another version, or the browser too old
 *   for vectors in WebAssembly.
 */
export async function createDecoder({ wasm, model, pixelsMax = DECODED_PIXELS_MAX, clock }) {
  const machine = await Machine.start(wasm);
  return new Decoder(machine, await Model.read(model), { pixelsMax, clock });
}

/** Decodes the frames of one stream, in order. */
export class Decoder {
  #machine;
  #model;
  #parts;
  #networks;
  #refinements;
  #pixelsMax;
  #clock;
  #lapStart = 0;
  /** Where what is of one size begins in memory. */
  #base;
  #opened = "";
  /** @type {?Painter} */
  #painter = null;
  #references = new References();

  /**
   * Use `createDecoder`; tests bring networks of their own.
   * @param {Machine} machine
   * @param {Model} model
   * @param {{ pixelsMax?: number, clock?: () => number, networks?: Networks }} [options]
   */
  constructor(machine, model, { pixelsMax = DECODED_PIXELS_MAX, clock, networks } = {}) {
    const isWhole = model.has("gains"); // else it has spatial frames alone: stills
    if (!isWhole && !model.has("spatial.steps")) {
      throw new Error(`model ${model.name} paints no pictures`);
    }
    this.#machine = machine;
    this.#model = model;
    this.#pixelsMax = pixelsMax;
    this.#clock = clock;
    /** @param {"delta." | "spatial."} kind */
    const part = (kind) => (model.has(`${kind}steps`) ? new Part(machine, model, kind) : null);
    this.#parts = {
      intra: isWhole ? new Part(machine, model, "") : null,
      delta: part("delta."),
      spatial: part("spatial."),
    };
    this.#networks = networks ?? (isWhole ? new Networks(machine, model) : null);
    const refinement = (kind) =>
      model.has(`refine.${kind}.luma`) ? new Refinement(machine, model, kind) : null;
    this.#refinements = {
      intra: refinement("intra"),
      delta: refinement("delta"),
      spatial: refinement("spatial"),
      head: refinement("head"),
    };
    /** Whether frames are made sharper to look at, which changes nothing for later ones. */
    this.isPerceptual = false;
    this.#base = machine.mark;
    /** Milliseconds of the last frame by stage, if there is a clock. */
    this.stages = /** @type {Record<string, number>} */ ({});
  }

  /** Hexadecimal, whole; streams and packets begin with its first digits. */
  get modelId() {
    return this.#model.modelId;
  }

  /** Whether the model has what `isPerceptual` asks for; without it that does nothing. */
  get hasPerceptual() {
    return this.#refinements.head !== null;
  }

  /** Bytes of memory that the module has. */
  get memoryBytes() {
    return this.#machine.memoryBytes;
  }

  /**
   * Decode what there is of one frame.
   *
   * Missing tiles are painted from nothing, those of a delta frame from its reference, with the motion
   * of their neighbours. A reference that is not held is replaced by the newest picture there is.
   * @param {Uint8Array[]} packets Of one frame and rung, in any order.
   * @param {Options} [options]
   * @returns {Frame} BitstreamError if nothing of it can be decoded; what was there before stays.
   */
  decode(packets, { pts = null, size = null } = {}) {
    this.#lapStart = this.#clock?.() ?? 0;
    this.stages = {};
    const { parsed, problem } = parse(packets);
    const slices = parsed.filter(({ header }) => header);
    const described = slices.find(({ header }) => header.description);
    const { width, height } = described?.header.description.geometry ?? size ?? {};
    const said = described ?? (size && slices[0]);
    if (!said) throw problem ?? new Truncated("no packet of the frame says its size", 0);
    const painter = this.#ready(width, height, said.header.rung, slices);
    const { mark } = this.#machine;
    try {
      return this.#frame(painter, parsed, problem !== null, pts);
    } finally {
      this.#machine.release(mark);
    }
  }

  /**
   * Convert a frame for showing, as `ImageData` takes it.
   * @param {Pick<Frame, "width" | "height" | "y" | "u" | "v">} frame
   * @param {import("./color.js").Color} [color]
   * @returns {Uint8ClampedArray}
   */
  toRgba(frame, color = {}) {
    return planesToRgba(this.#machine, frame, color);
  }

  /** @returns {Painter} Of a size and rung, with room for what the slices may store. */
  #ready(width, height, rung, slices) {
    try {
      const painter = this.#open(width, height, rung);
      if (this.#parts.delta) {
        for (const { header } of slices) painter.prepare(header.store);
      }
      this.#machine.reserve(this.#passing(painter));
      return painter;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#painter = null; // memory ended: what is half made is let go of with the next frame
      throw new Unsupported(`memory does not suffice for ${width}x${height}`, 0);
    }
  }

  /** @returns {Painter} Of a size and rung; what was decoded of another is of no use to this one. */
  #open(width, height, rung) {
    const wanted = `${width}x${height} ${rung}`;
    if (this.#painter && this.#opened === wanted) return this.#painter;
    if (width * height > this.#pixelsMax) {
      throw new Corrupt(`a frame of ${width}x${height} is more than we take`, 0);
    }
    this.#painter = null;
    this.#references = new References();
    this.#machine.release(this.#base);
    const [networks, refinements] = [this.#networks, this.#refinements];
    this.#painter = new Painter(this.#machine, this.#model, networks, refinements, width, height);
    this.#opened = wanted;
    return this.#painter;
  }

  /** Bytes that come and go with a frame, or with showing it: most of what may be needed. */
  #passing({ width, height, nTiles }) {
    const ofTiles = Object.values(this.#parts).map((part) =>
      part ? nTiles * (2 * part.hyperChannels + INTEGER_BYTES * part.latentChannels + 16 * COPY_BYTES) : 0,
    );
    return Math.max(PAYLOAD_BYTES + Math.max(...ofTiles), SHOWN_BYTES * width * height);
  }

  /** @returns {Frame} */
  #frame(painter, packets, isDamaged, pts) {
    const { width, height, nTiles } = painter;
    const frame = unpackFrame(this.#machine, packets, this.#parts, width, height, nTiles);
    const { header, present } = frame;
    this.#lap("read");
    const from = header.reference === null ? null : this.#references.nearest(header.reference);
    if (header.reference !== null && from === null) {
      const error = new Unsupported(`reference ${header.reference} is not held`, 0);
      [error.needs, error.unheldFrame] = ["keyframe", header.frameNumber];
      throw error;
    }
    const isTrusted = this.#references.has(header.reference);
    const store = this.#parts.delta ? header.store : null;
    const to = store === null ? null : slotOf(store);
    painter.paint(frame, from, to, (stage) => this.#lap(stage));
    if (this.isPerceptual && this.hasPerceptual) {
      painter.sharpen();
      this.#lap("head");
    }
    const nPresent = present.reduce((sum, one) => sum + one, 0);
    const isWhole = isTrusted && nPresent === nTiles;
    this.#references.decoded(header.isKey, store, isWhole);
    const { frameNumber, isKey, qp, rung, reference } = header;
    const isComplete = isWhole && !isDamaged;
    return {
      width,
      height,
      pts,
      frameNumber,
      isKey,
      qp,
      rung,
      reference,
      store: header.store,
      ...painter.planes(),
      present: nPresent / nTiles,
      isTrusted,
      isComplete,
      needs: isComplete ? null : "feedback",
    };
  }

  #lap(stage) {
    if (!this.#clock) return;
    const now = this.#clock();
    this.stages[stage] = now - this.#lapStart;
    this.#lapStart = now;
  }
}

/** Parse what parses, and say what was the first problem. */
function parse(packets) {
  const parsed = [];
  let problem = null;
  for (const bytes of packets) {
    try {
      parsed.push(readPacket(bytes));
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      problem ??= error;
    }
  }
  return { parsed, problem };
}
