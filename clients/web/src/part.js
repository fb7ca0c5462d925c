// What of a model reads slices: its tables and scale network, for frames of one kind. Calls
// rtcodec/entropy/*.c as rtcodec/entropy/native.py does.

import { Corrupt, Truncated } from "./errors.js";

const PROB_SCALE = 1 << 14;
const SCALES = 64;
const SAID = 32; // tables of what is said of blocks, where a model has them
const PLACES = 16; // of a tile
const Z_ROW = 32;
const DECODER_WORDS = 13; // of an rtc_decoder
const POSITION_WORD = 2;

const REASONS = {
  2: "a lane state is too small",
  3: "an escaped symbol is too large",
  4: "bytes after the last symbol",
  5: "a lane does not end as it should",
};

/** Reads slices of one kind of frames. */
export class Part {
  #machine;
  #tables;
  #net;

  /**
   * @param {import("./machine.js").Machine} machine
   * @param {import("./model.js").Model} model
   * @param {"" | "delta." | "spatial."} prefix Of its tensors.
   */
  constructor(machine, model, prefix) {
    this.#machine = machine;
    const frequencies = model.tensor(`${prefix}z_frequencies`);
    /** Cz. */
    this.hyperChannels = frequencies.shape[1];
    const contexts = prefix ? machine.put(copied(model.tensor(`${prefix}contexts`).values)) : 0;
    this.#tables = buildTables(
      machine,
      model.tensor(`${prefix}y_frequencies`),
      frequencies,
      contexts,
    );
    this.#net = new ScaleNet(machine, model, `${prefix}scale_net.`);
    /** M. */
    this.latentChannels = this.#net.latentChannels;
  }

  /**
   * Begin to read a payload; BitstreamError counts from its start.
   * @param {Uint8Array} payload
   * @param {number} z Where its hyper-latents go, int8 [nTiles][Cz].
   * @returns {number} The address of an rtc_decoder.
   */
  open(payload, nTiles, qp, lanes, z) {
    const { call } = this.#machine;
    const at = this.#machine.put(payload);
    const decoder = this.#machine.allocate(4 * DECODER_WORDS);
    this.#check(decoder, payload.length, call.rtc_decode_begin(decoder, at, payload.length, lanes));
    this.#check(decoder, payload.length, call.rtc_decode_z(decoder, this.#tables, qp, z, nTiles));
    return decoder;
  }

  /**
   * Scale indices of some tiles, uint8 [nTiles][M][16].
   * @param {number} z int8 [nTiles][Cz].
   * @returns {number} Their address.
   */
  indices(z, nTiles, qp) {
    return this.#net.indices(z, nTiles, qp);
  }

  /**
   * Read the symbols of an open slice into int16 [nTiles][M][16], and check the end.
   * @param {number} size Of the payload.
   */
  read(decoder, size, indices, nTiles, symbols) {
    const count = nTiles * this.latentChannels * PLACES;
    const status = this.#machine.call.rtc_decode_y(decoder, this.#tables, indices, count, symbols);
    this.#check(decoder, size, status);
  }

  /**
   * Hold what was decoded against a packet's check word.
   * @param {import("./packet.js").Packet} packet
   * @param {number} mapSize Bytes of the still map, where the payload begins with one.
   */
  verify(packet, mapSize, z, nTiles, symbols) {
    const { call } = this.#machine;
    const { mark } = this.#machine;
    const head = new Uint8Array(packet.head.length + mapSize);
    head.set(packet.head);
    head.set(packet.payload.subarray(0, mapSize), packet.head.length);
    let crc = call.rtc_web_crc(0, this.#machine.put(head), head.length);
    this.#machine.release(mark);
    crc = call.rtc_web_crc(crc, z, nTiles * this.hyperChannels);
    crc = call.rtc_web_crc(crc, symbols, 2 * nTiles * this.latentChannels * PLACES);
    if ((crc & 0xffff) !== packet.header.check) {
      throw new Corrupt("symbols do not match the check word", packet.checkOffset);
    }
  }

  #check(decoder, size, status) {
    if (!status) return;
    if (status === 1) throw new Truncated("the payload ends inside a symbol or a state", size);
    const words = this.#machine.view(Uint32Array, decoder, DECODER_WORDS);
    throw new Corrupt(REASONS[status], words[POSITION_WORD]);
  }
}

/** A copy, since files need not lie where numbers of their size may. */
function copied(values) {
  return /** @type {any} */ (values.slice());
}

/**
 * Make rtc_tables of frequencies; Error where they do not sum up, as C trusts them.
 * @returns {number} Their address.
 */
function buildTables(machine, y, z, contexts) {
  const [rows, columns] = [y.shape[0], y.shape[1] + 1];
  if (rows !== SCALES && rows !== SCALES + SAID) throw new Error(`${rows} tables`);
  const yTable = cumulated(y.values, rows, columns - 1);
  yTable.fill(0, 0, columns);
  const zTable = cumulated(z.values, z.values.length / (Z_ROW - 1), Z_ROW - 1);
  for (let row = 1; row < rows; row++) checkRow(yTable, row * columns, columns);
  for (let at = 0; at < zTable.length; at += Z_ROW) checkRow(zTable, at, Z_ROW);
  const tables = machine.allocate(machine.call.rtc_tables_size(z.shape[1]));
  const { mark } = machine;
  const [yAt, zAt] = [machine.put(yTable), machine.put(zTable)];
  machine.call.rtc_tables_build(tables, yAt, rows, columns, zAt, z.shape[1], contexts);
  machine.release(mark);
  return tables;
}

/** Rows of frequencies as cumulative tables, each beginning with 0. */
function cumulated(frequencies, rows, width) {
  const table = new Uint16Array(rows * (width + 1));
  for (let row = 0; row < rows; row++) {
    for (let i = 0, sum = 0; i < width; i++) {
      sum += frequencies[row * width + i];
      table[row * (width + 1) + i + 1] = sum;
    }
  }
  return table;
}

function checkRow(table, start, size) {
  let previous = -1;
  for (let i = start; i < start + size; i++) {
    const grows = table[i] > previous || (previous === PROB_SCALE && table[i] === PROB_SCALE);
    if (!grows || table[i] > PROB_SCALE) throw new Error("a table of the model is none");
    previous = table[i];
  }
  if (previous !== PROB_SCALE) throw new Error("a table of the model is none");
}

/** The exact scale network: rtcodec/entropy/_scale_net.c, packed as native.py packs it. */
class ScaleNet {
  #machine;
  #layers;
  #struct;
  #scratch;
  #qp = -1;
  /** Latents, the last so many, whose index is at least 1. */
  #always;

  constructor(machine, model, prefix) {
    this.#machine = machine;
    this.#always = model.dims.motion ?? 0; // for intra frames too: SPEC.md 9.1
    const shifts = model.tensor(`${prefix}shifts`).values;
    this.#layers = [1, 2, 3].map((n, i) => {
      const { shape, values } = model.tensor(`${prefix}w${n}`);
      const rows = Math.ceil(shape[0] / 8) * 8;
      const inputs = Math.ceil(shape[1] / 2) * 2;
      const padded = new Int16Array(rows * inputs);
      for (let row = 0; row < shape[0]; row++) {
        const own = values.subarray(row * shape[1], (row + 1) * shape[1]);
        padded.set(own, row * inputs);
      }
      const bias = model.tensor(`${prefix}b${n}`);
      return {
        weight: machine.put(padded),
        bias: machine.allocate(4 * rows),
        biases: bias.values,
        perQp: bias.shape.length === 2,
        outputs: shape[0],
        trueInputs: shape[1],
        rows,
        inputs,
        shift: shifts[i],
      };
    });
    const [first, second, last] = this.#layers;
    this.latentChannels = last.outputs;
    this.hyperChannels = first.trueInputs;
    const each = (name) => this.#layers.map((layer) => layer[name]);
    this.#struct = machine.words(
      ...each("weight"),
      0,
      0,
      0, // weights in bytes, for processors with products of four
      ...each("bias"),
      ...each("rows"),
      ...each("inputs"),
      ...each("shift"),
      this.hyperChannels,
      second.trueInputs,
      last.trueInputs,
      this.latentChannels,
    );
    this.#scratch = machine.allocate(machine.call.rtc_scale_scratch(this.#struct));
  }

  indices(z, nTiles, qp) {
    this.#use(qp);
    const size = this.latentChannels * PLACES;
    const indices = this.#machine.allocate(nTiles * size);
    const { rtc_scale_indices: run } = this.#machine.call;
    run(this.#struct, z, nTiles, indices, this.#scratch);
    const always = this.#always * PLACES;
    if (!always) return indices;
    for (let tile = 1; tile <= nTiles; tile++) {
      const last = this.#machine.view(Uint8Array, indices + tile * size - always, always);
      for (let i = 0; i < always; i++) last[i] ||= 1;
    }
    return indices;
  }

  /** Put the biases of a qp in their place, half of what is shifted out added. */
  #use(qp) {
    if (this.#qp === qp) return;
    this.#qp = qp;
    this.#layers.forEach(({ bias, biases, perQp, outputs, shift }, i) => {
      const to = this.#machine.view(Int32Array, bias, outputs);
      const half = (1 << shift) >> 1;
      const from = perQp ? qp * outputs : 0;
      for (let o = 0; o < outputs; o++) {
        to[o] = (i === 2 ? biases[from + o] << shift : biases[from + o]) + half;
      }
    });
  }
}
