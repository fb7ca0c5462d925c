// Symbols to pictures for one size: what engines/rtcodec_engines/graph_engine.py does with
// rtcodec/motion/*.c. Of delta and spatial frames these are integers, the same to the last bit as there.

import { slotOf, tileGrid } from "./packet.js";
import { COPY_BYTES } from "./unpack.js";

const BLOCK_SAMPLES = 384;
const AREA_SAMPLES = BLOCK_SAMPLES + 2; // that each place of an area takes: _spatial.h
const MOTION = 10;
const NO_QP = 255;
const LARGE = BLOCK_SAMPLES; // the channel that says whether the luma of a place is one part
const INTRA = 1; // flags of a place: nothing is moved there,
const WHOLE = 4; // and its luma has no edges within
const QPS = 64;
const BORDER_PX = 32;
const CLIPS = [13, 32, 96, 256];
const CLIP_MAX = 8191;
const LEVELS = 8;
const FIRST_LEVEL = { intra: 20, delta: 5, spatial: 20, head: 5 };
const EDGES = [28, 10, 1]; // sixteenths of a step: smoothing.py

/** Weights that refine pictures of one kind, or on their way to the screen: motion/refinement.py. */
export class Refinement {
  /**
   * @param {import("./machine.js").Machine} machine
   * @param {import("./model.js").Model} model
   * @param {import("./unpack.js").Kind | "head"} kind
   */
  constructor(machine, model, kind) {
    const luma = model.tensor(`refine.${kind}.luma`);
    const chroma = model.tensor(`refine.${kind}.chroma`);
    const steps = model.tensor("refine.steps").values;
    const at = [luma, chroma].map(({ values }) => machine.put(values.slice()));
    const sizes = [luma, chroma].map(({ shape, values }) => values.byteLength / shape[0]);
    const words = [];
    for (let qp = 0; qp < QPS; qp++) {
      const set = Math.min(Math.max(Math.floor((qp - 1) / 6), 0), luma.shape[0] - 1);
      const [ofLuma, ofChroma] = [steps[2 * qp], steps[2 * qp + 1]];
      const clips = (step) => CLIPS.map((clip) => Math.min((step * clip) >> 3, CLIP_MAX));
      words.push(at[0] + set * sizes[0], at[1] + set * sizes[1]);
      words.push(...clips(ofLuma), ...clips(ofChroma));
      for (let i = 0; i < LEVELS - 1; i++) words.push(((FIRST_LEVEL[kind] * ofLuma) << i) >> 2);
    }
    /** Address of an rtc_refinement for each qp. */
    this.at = machine.words(words);
  }
}

/** A stored picture, with its edges repeated. */
class Picture {
  constructor(machine, rows, columns) {
    const sides = [
      [16 * rows + 2 * BORDER_PX, 16 * columns + 2 * BORDER_PX, BORDER_PX],
      ...Array(2).fill([8 * rows + BORDER_PX, 8 * columns + BORDER_PX, BORDER_PX / 2]),
    ];
    const inner = sides.map(
      ([height, width, border]) => machine.allocate(2 * height * width) + 2 * border * (width + 1),
    );
    /** Address of an rtc_reference. */
    this.at = machine.words(...inner, rows, columns);
    /** Address of the qp that each tile was last coded at. */
    this.qps = machine.allocate((rows * columns) / 16);
  }
}

/** Paints the frames of one stream, all of one size; keeps what they are predicted from. */
export class Painter {
  #machine;
  #model;
  #networks;
  #refinements;
  #rows;
  #columns;
  /** @type {Map<number, Picture>} By slot. */
  #pictures = new Map();
  /** @type {Map<?number, Uint8Array>} By slot, at which qp each tile was last coded: tile_qp.py. */
  #tileQps = new Map();
  #shownQps;
  /** Where a picture goes that is not kept. */
  #passing;
  /** Address of an rtc_picture: the planes that are shown. */
  #planesStruct;
  /** Addresses of what is of one frame. */
  #at;

  /**
   * @param {import("./machine.js").Machine} machine
   * @param {import("./model.js").Model} model
   * @param {?import("./networks.js").Networks} networks None of a model for stills.
   * @param {Record<import("./unpack.js").Kind | "head", ?Refinement>} refinements
   */
  constructor(machine, model, networks, refinements, width, height) {
    this.#machine = machine;
    this.#model = model;
    this.#networks = networks;
    this.#refinements = refinements;
    this.width = width;
    this.height = height;
    const [tileRows, tileColumns] = tileGrid(width, height);
    this.nTiles = tileRows * tileColumns;
    this.#rows = 4 * tileRows;
    this.#columns = 4 * tileColumns;
    const places = this.#rows * this.#columns;
    const half = Math.ceil(width / 2) * Math.ceil(height / 2);
    const channels = Math.max(model.dims.M, BLOCK_SAMPLES + MOTION);
    const room = (size) => machine.allocate(size);
    this.#at = {
      symbols: room(2 * places * channels),
      z: room(this.nTiles * model.dims.Cz),
      present: room(this.nTiles),
      qps: room(this.nTiles),
      still: room(places),
      coded: room(places),
      intra: room(places),
      vectors: room(16 * places),
      blocks: room(2 * places * BLOCK_SAMPLES),
      refined: room(2 * places * AREA_SAMPLES),
      planes: [room(width * height), room(half), room(half)],
      scratch: networks?.allocate(this.#rows, this.#columns),
    };
    this.#passing = new Picture(machine, this.#rows, this.#columns);
    const halfWidth = Math.ceil(width / 2);
    this.#planesStruct = machine.words(
      this.#at.planes,
      [width, halfWidth, halfWidth],
      height,
      width,
    );
  }

  /**
   * Make room for what a frame is kept in, before anything that is not kept is in memory.
   * @param {?number} store Id of a state; null: none.
   */
  prepare(store) {
    if (store === null || this.#pictures.has(slotOf(store))) return;
    this.#pictures.set(slotOf(store), new Picture(this.#machine, this.#rows, this.#columns));
  }

  /**
   * Paint a frame.
   * @param {import("./unpack.js").Unpacked} frame
   * @param {?number} from Slot that it is predicted from; null: none.
   * @param {?number} to Slot that it is kept in; null: none. `prepare` made room.
   * @param {(stage: string) => void} lap Told as each stage is done.
   */
  paint(frame, from, to, lap) {
    const { kind } = frame;
    const { qp } = frame.header;
    this.#arrange(frame);
    if (kind === "delta") {
      this.#paintDelta(frame, this.#pictures.get(from), qp);
      lap("paint");
      this.#finishDelta(to);
    } else {
      const { symbols, z, blocks, scratch } = this.#at;
      if (kind === "spatial") this.#paintSpatial(frame);
      else this.#networks.synthesise(symbols, z, qp, blocks, scratch);
      lap("paint");
      this.#finishAlone(kind, qp, to);
    }
    this.#noteQps(frame, from, to);
    lap("finish");
  }

  /** Make what was painted last sharper, to be shown: rtcodec/codec/perceptual_head.py. */
  sharpen() {
    const { call } = this.#machine;
    const { blocks, refined, qps } = this.#at;
    const size = this.#rows * this.#columns * BLOCK_SAMPLES;
    this.#machine.view(Uint8Array, qps, this.nTiles).set(this.#shownQps);
    call.rtc_blocks_fill(this.#planesStruct, this.#rows, this.#columns, blocks);
    call.rtc_web_fine(blocks, size, refined);
    call.rtc_reference_fill(this.#passing.at, refined); // what was in it is shown already
    call.rtc_refine(this.#passing.at, this.#refinements.head.at, qps, blocks);
    call.rtc_planes_fill(blocks, this.#columns, this.#planesStruct);
  }

  /** Copies of the planes that were painted last. */
  planes() {
    const half = Math.ceil(this.width / 2) * Math.ceil(this.height / 2);
    const [y, u, v] = this.#at.planes.map((at, i) =>
      this.#machine.view(Uint8Array, at, i ? half : this.width * this.height).slice(),
    );
    return { y, u, v };
  }

  #noteQps({ header, slices }, from, to) {
    const qps = this.#tileQps.get(from)?.slice() ?? new Uint8Array(this.nTiles).fill(header.qp);
    for (const { coded } of slices) for (const tile of coded) qps[tile] = header.qp;
    this.#shownQps = qps;
    if (to !== null) this.#tileQps.set(to, qps);
  }

  /** Put symbols and hyper-latents where they belong, zeros elsewhere. */
  #arrange({ part, slices, kind }) {
    const { symbols, z } = this.#at;
    const machine = this.#machine;
    const places = this.#rows * this.#columns;
    const channels = part.latentChannels;
    machine.view(Uint8Array, symbols, 2 * places * channels).fill(0);
    const hyper = part.hyperChannels;
    if (kind === "intra") machine.view(Int8Array, z, this.nTiles * hyper).fill(0);
    for (const slice of slices) {
      if (!slice.coded.length) continue;
      const { mark } = machine;
      const where = machine.put(slice.coded);
      const n = slice.coded.length;
      machine.call.rtc_web_scatter(slice.symbols, where, n, channels, this.#columns, symbols);
      machine.release(mark);
      if (kind !== "intra") continue; // painting looks at z of those alone
      const frameZ = machine.view(Int8Array, z, this.nTiles * hyper);
      const own = machine.view(Int8Array, slice.z, n * hyper);
      slice.coded.forEach((tile, i) => {
        frameZ.set(own.subarray(i * hyper, (i + 1) * hyper), tile * hyper);
      });
    }
  }

  #paintDelta(frame, reference, qp) {
    const { call } = this.#machine;
    const { symbols, vectors, intra, blocks, still, coded, qps, present } = this.#at;
    const [rows, columns] = [this.#rows, this.#columns];
    const stride = frame.part.latentChannels;
    const motion = symbols + 2 * BLOCK_SAMPLES;
    call.rtc_web_vectors(motion, stride, rows, columns, vectors, intra);
    if (frame.present.includes(0)) {
      this.#machine.view(Uint8Array, present, this.nTiles).set(frame.present);
      call.rtc_web_conceal(motion, stride, present, rows, columns, vectors);
      call.rtc_web_vectors(motion, stride, rows, columns, vectors, intra);
    }
    call.rtc_predict(reference.at, vectors, intra, blocks);
    const says = [rows, columns, qp, reference.qps, qps, still];
    if (!call.rtc_web_still(symbols, stride, ...says)) return;
    const places = rows * columns;
    this.#withSteps("delta", qp, (steps, limits) => {
      call.rtc_paint(symbols, still, steps, places, stride, stride - 1, blocks, coded);
      call.rtc_smooth(blocks, coded, vectors, intra, still, limits, rows, columns);
    });
  }

  #paintSpatial({ part, header, copies }) {
    const { qp, acrossTiles } = header;
    const stride = part.latentChannels;
    const { call } = this.#machine;
    const { symbols, vectors, intra, blocks, refined, still, coded } = this.#at;
    const [rows, columns] = [this.#rows, this.#columns];
    const places = rows * columns;
    const said = this.#machine.view(Int16Array, symbols, places * stride);
    const flags = this.#machine.view(Uint8Array, intra, places);
    flags.forEach((_, i) => (flags[i] = said[i * stride + LARGE] ? INTRA | WHOLE : INTRA));
    this.#machine.view(Uint8Array, vectors, 16 * places).fill(0);
    this.#machine.view(Uint8Array, still, places).fill(0);
    this.#withSteps("spatial", qp, (steps, limits) => {
      const area = acrossTiles ? refined : 0; // nothing is refined yet
      const linear = this.#model.dims.chroma_from_luma ?? 0;
      const how = [steps, blocks, coded, area, linear, copies, COPY_BYTES / 2];
      call.rtc_spatial_paint(symbols, rows, columns, stride, ...how);
      call.rtc_smooth(blocks, coded, vectors, intra, still, limits, rows, columns);
    });
  }

  /** Have something done with the addresses of a kind's steps, and of limits of smoothing. */
  #withSteps(kind, qp, run) {
    const { mark } = this.#machine;
    const steps = this.#model.tensor(`${kind}.steps`).values.subarray(2 * qp, 2 * qp + 2);
    const limits = Array.from(steps, (step) => EDGES.map((part) => (step * part) >> 4));
    run(this.#machine.words(...steps), this.#machine.words(limits.flat()));
    this.#machine.release(mark);
  }

  /** Keep a delta frame as it is, and show it refined: each tile for the qp it was coded at. */
  #finishDelta(to) {
    const { call } = this.#machine;
    const { blocks, refined, qps } = this.#at;
    const picture = this.#pictures.get(to) ?? this.#passing;
    call.rtc_reference_fill(picture.at, blocks);
    const ofPicture = this.#machine.view(Uint8Array, picture.qps, this.nTiles);
    ofPicture.set(this.#machine.view(Uint8Array, qps, this.nTiles));
    const refinement = this.#refinements.delta;
    if (refinement) call.rtc_refine(picture.at, refinement.at, qps, refined);
    call.rtc_planes_fill(refinement ? refined : blocks, this.#columns, this.#planesStruct);
  }

  /** Refine a frame that stands alone, keep it as that, and show it. */
  #finishAlone(kind, qp, to) {
    const { call } = this.#machine;
    const { blocks, refined, qps } = this.#at;
    const kept = this.#pictures.get(to);
    const picture = kept ?? this.#passing;
    call.rtc_reference_fill(picture.at, blocks);
    this.#machine.view(Uint8Array, picture.qps, this.nTiles).fill(NO_QP);
    const refinement = this.#refinements[kind];
    if (refinement) {
      this.#machine.view(Uint8Array, qps, this.nTiles).fill(qp);
      call.rtc_refine(picture.at, refinement.at, qps, refined);
      if (kept) call.rtc_reference_fill(picture.at, refined);
    }
    call.rtc_planes_fill(refinement ? refined : blocks, this.#columns, this.#planesStruct);
  }
}
