// The networks between symbols and samples of intra frames: `synthesis_graph` of
// rtcodec/models/graph.py, layer by layer, over the products in C. 8-bit trunks, floats elsewhere.

const QP_MAX = 63;
const TILE_SIDE = 4;
const PIXEL_CHANNELS = 384;

/** One model's networks; pictures of any size, one at a time. */
export class Networks {
  #machine;
  #dims;
  #layers = new Map();
  #gains;
  #features;
  #anchored;

  /**
   * @param {import("./machine.js").Machine} machine
   * @param {import("./model.js").Model} model
   */
  constructor(machine, model) {
    this.#machine = machine;
    this.#dims = model.dims;
    this.#gains = model.tensor("gains");
    const { P } = model.dims;
    for (const name of ["first", "second", "step1", "anchor_gate", "middle", "step2"]) {
      this.#addFloats(model, `means.${name}`);
    }
    this.#addFloats(model, "means.anchor_spread");
    this.#addFloats(model, "means.anchor_out");
    this.#addFloats(model, "means.context", "means.context.features", 0, P);
    this.#addFloats(model, "means.context", "means.context.known", P);
    this.#addFloats(model, "synthesis.linear");
    this.#addDepthwise(model, "means.depthwise");
    this.#addDepthwise(model, "means.depthwise2");
    this.#addBytes(model, "synthesis.embed");
    for (let i = 0; i < model.dims.decoder_blocks; i++) {
      const block = `synthesis.blocks.${i}`;
      for (const name of ["mix_in", "mix_out", "value", "gate", "project"]) {
        this.#addBytes(model, `${block}.${name}`);
      }
      this.#addDepthwise(model, `${block}.depthwise`);
    }
    this.#addBytes(model, "synthesis.head");
    const first = model.tensor("means.first.weight").shape[0] / 4;
    this.#features = { first, second: P };
    this.#anchored = model.tensor("means.anchor_out.weight").shape[1];
  }

  /** Make room for what is between the layers of a picture of so many places. */
  allocate(rows, columns) {
    const { C, M, P } = this.#dims;
    const places = rows * columns;
    const floats = (channels) => this.#machine.allocate(4 * places * channels);
    return {
      rows,
      columns,
      // Features of tiles and of what is between them are smaller than those of places.
      a: floats(Math.max(C, P, this.#features.first)),
      b: floats(Math.max(C, P, this.#features.first)),
      features: floats(P),
      anchors: floats(this.#anchored),
      gates: floats(this.#anchored),
      spread: floats(this.#anchored),
      means: floats(M),
      latents: floats(M),
      trunk: floats(C),
      bytes: this.#machine.allocate(2 * places * Math.max(C, M)),
      samples: floats(PIXEL_CHANNELS),
    };
  }

  /**
   * Paint samples.
   * @param {number} symbols Address, int16 [places][M].
   * @param {number} z Address, int8 [tiles][Cz].
   * @param {number} blocks Address, uint16 [places][384], 16 times those of a byte.
   * @param {ReturnType<Networks["allocate"]>} at Room.
   */
  synthesise(symbols, z, qp, blocks, at) {
    const { C, M } = this.#dims;
    const gains = gainsAt(this.#gains, qp);
    const [ofLatents, ofTrunk, ofHead] = [
      gains.subarray(0, M),
      gains.subarray(M, M + C),
      gains.subarray(M + C),
    ];
    const { mark } = this.#machine;
    this.#latents(symbols, z, this.#machine.put(ofLatents), at);
    this.#trunk(ofTrunk, at);
    this.#product("synthesis.linear", at.latents, this.#places(at), at.samples);
    const head = this.#layers.get("synthesis.head");
    const factor = head.perUnit.map((per, c) => per * ofHead[c]);
    const places = this.#places(at);
    const { call } = this.#machine;
    call.rtc_web_quantise(at.trunk, places, C, this.#machine.put(factor), at.bytes);
    this.#int8Product("synthesis.head", at.bytes, places, at.samples, true);
    call.rtc_web_samples(at.samples, places * PIXEL_CHANNELS, blocks);
    this.#machine.release(mark);
  }

  #places({ rows, columns }) {
    return rows * columns;
  }

  /** Means in three steps, added to the symbols: scaled latents. */
  #latents(symbols, z, gains, at) {
    const { call } = this.#machine;
    const { M, P } = this.#dims;
    const { rows, columns } = at;
    const places = rows * columns;
    this.#featuresOf(z, at);
    this.#product("means.step1", at.features, places, at.means);
    // The error at a tile's anchor, spread over it.
    const tiles = places / TILE_SIDE ** 2;
    const anchored = this.#anchored;
    call.rtc_web_anchors(symbols, rows, columns, M, anchored, at.anchors);
    this.#product("means.anchor_spread", at.anchors, tiles, at.gates);
    const [h, w] = [rows / TILE_SIDE, columns / TILE_SIDE];
    call.rtc_web_spread(at.gates, h, w, anchored, TILE_SIDE, at.spread);
    this.#product("means.anchor_gate", at.features, places, at.gates);
    call.rtc_web_gate(at.spread, at.gates, places * anchored);
    this.#product("means.anchor_out", at.spread, places, at.means, true);
    call.rtc_web_known(symbols, at.means, rows, columns, M, at.latents);
    this.#product("means.context.features", at.features, places, at.a);
    this.#product("means.context.known", at.latents, places, at.a, true);
    call.rtc_web_leaky(at.a, places * P);
    this.#depthwise("means.depthwise", at.a, P, at.b, at);
    this.#product("means.middle", at.b, places, at.a);
    call.rtc_web_leaky(at.a, places * P);
    this.#depthwise("means.depthwise2", at.a, P, at.b, at);
    this.#product("means.step2", at.b, places, at.means);
    call.rtc_web_latents(symbols, at.means, gains, rows, columns, M, at.latents);
  }

  /** What z says of every place: twice as fine with each of two layers. */
  #featuresOf(z, at) {
    const { call } = this.#machine;
    const { first, second } = this.#features;
    let [h, w] = [at.rows / TILE_SIDE, at.columns / TILE_SIDE];
    call.rtc_web_hyper(z, h * w * this.#dims.Cz, at.a);
    for (const [name, channels, to] of [
      ["means.first", first, at.a],
      ["means.second", second, at.features],
    ]) {
      this.#product(name, at.a, h * w, at.b);
      call.rtc_web_leaky(at.b, h * w * 4 * channels);
      call.rtc_web_spread(at.b, h, w, channels, 2, to);
      [h, w] = [2 * h, 2 * w];
    }
  }

  /** From scaled latents to what the head reads. */
  #trunk(gains, at) {
    const { call } = this.#machine;
    const { C, M } = this.#dims;
    const places = this.#places(at);
    this.#quantise("synthesis.embed", at.latents, M, at);
    this.#int8Product("synthesis.embed", at.bytes, places, at.trunk);
    call.rtc_web_scale(at.trunk, places, C, this.#machine.put(gains));
    for (let i = 0; i < this.#dims.decoder_blocks; i++) {
      const block = `synthesis.blocks.${i}`;
      this.#quantise(`${block}.mix_in`, at.trunk, C, at);
      this.#int8Product(`${block}.mix_in`, at.bytes, places, at.a);
      call.rtc_web_leaky(at.a, places * C);
      this.#depthwise(`${block}.depthwise`, at.a, C, at.b, at);
      call.rtc_web_round(at.b, places * C, at.bytes);
      this.#int8Product(`${block}.mix_out`, at.bytes, places, at.trunk, true);
      this.#quantise(`${block}.value`, at.trunk, C, at);
      this.#int8Product(`${block}.value`, at.bytes, places, at.a);
      this.#int8Product(`${block}.gate`, at.bytes, places, at.b);
      call.rtc_web_gated(at.a, at.b, places * C, at.bytes);
      this.#int8Product(`${block}.project`, at.bytes, places, at.trunk, true);
    }
  }

  #addFloats(model, name, key = name, from = 0, to = Infinity) {
    const { shape, values } = model.tensor(`${name}.weight`);
    const [outputs, all] = shape;
    const inputs = Math.min(to, all) - from;
    const weights = this.#machine.allocate(4 * outputs * inputs);
    const hasBias = from === 0 && model.has(`${name}.bias`);
    const bias = hasBias ? this.#machine.put(model.tensor(`${name}.bias`).values.slice()) : 0;
    const { mark } = this.#machine;
    const floats = this.#floats(values) + 4 * from;
    this.#machine.call.rtc_web_pack_floats(floats, all, outputs, inputs, weights);
    this.#machine.release(mark);
    this.#layers.set(key, { inputs, outputs, weights, bias });
  }

  /** Numbers of either precision as floats in memory. */
  #floats(values) {
    if (values instanceof Float32Array) return this.#machine.put(values.slice());
    const floats = this.#machine.allocate(4 * values.length);
    const halves = this.#machine.put(values.slice());
    this.#machine.call.rtc_web_widen(halves, values.length, floats);
    return floats;
  }

  #addBytes(model, name) {
    const { shape, values } = model.tensor(`${name}.weight`);
    const [outputs, inputs] = shape;
    const weights = this.#machine.allocate(2 * outputs * inputs);
    const [step, bias] = ["step", "bias"].map((key) =>
      this.#machine.put(model.tensor(`${name}.${key}`).values.slice()),
    );
    const perUnit = model.tensor(`${name}.per_unit`).values.slice();
    const factor = this.#machine.put(perUnit);
    const { mark } = this.#machine;
    const bytes = this.#machine.put(values.slice());
    this.#machine.call.rtc_web_pack_bytes(bytes, outputs, inputs, weights);
    this.#machine.release(mark);
    this.#layers.set(name, { inputs, outputs, weights, step, bias, perUnit, factor });
  }

  #addDepthwise(model, name) {
    const [weights, bias] = ["weight", "bias"].map((key) =>
      this.#machine.put(model.tensor(`${name}.${key}`).values.slice()),
    );
    this.#layers.set(name, { weights, bias });
  }

  /** A 1x1 layer in floats; into `y`, or added to it. */
  #product(name, x, n, y, adds = false) {
    const { inputs, outputs, weights, bias } = this.#layers.get(name);
    const { call } = this.#machine;
    if (!adds) call.rtc_web_fill_rows(bias, n, outputs, y);
    call.rtc_web_add_product(x, n, inputs, weights, outputs, y);
  }

  /** A 1x1 layer of integers; into `y`, or added to it. */
  #int8Product(name, x, n, y, adds = false) {
    const { inputs, outputs, weights, step, bias } = this.#layers.get(name);
    const run = this.#machine.call.rtc_web_int8_product;
    run(x, n, inputs, weights, step, bias, outputs, y, adds ? 1 : 0);
  }

  /** Integers that the layer called `name` reads. */
  #quantise(name, x, channels, at) {
    const { factor } = this.#layers.get(name);
    this.#machine.call.rtc_web_quantise(x, this.#places(at), channels, factor, at.bytes);
  }

  #depthwise(name, x, channels, y, { rows, columns }) {
    const { weights, bias } = this.#layers.get(name);
    this.#machine.call.rtc_web_depthwise(x, rows, columns, channels, weights, bias, y);
  }
}

/** Gains of a qp, whose logarithms are on lines between those of anchors. */
function gainsAt({ shape, values }, qp) {
  const [anchors, width] = shape;
  const place = (qp * (anchors - 1)) / QP_MAX;
  const low = Math.min(Math.floor(place), anchors - 2);
  const part = place - low;
  const row = (n) => values.subarray(n * width, (n + 1) * width);
  const [from, to] = [row(low), row(low + 1)];
  return from.map((gain, i) => gain ** (1 - part) * to[i] ** part);
}
