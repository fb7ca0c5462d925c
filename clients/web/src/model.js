// The file that `rtcodec webmodel` writes; rtcodec/models/web.py has its form.

const MAGIC = 0x57435452; // "RTCW", little-endian
const VERSION = 2;
const HASH_BYTES = 32;

const FORMS = {
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  float16: Uint16Array, // as they are: C makes floats of them
  float32: Float32Array,
};

/**
 * @typedef {object} Tensor
 * @property {number[]} shape
 * @property {Int8Array | Int16Array | Int32Array | Uint16Array | Float32Array} values
 */

/** A model as a decoder needs it. */
export class Model {
  #tensors;

  /**
   * Read the file; Error if it is not one, or damaged.
   * @param {ArrayBuffer} buffer
   * @returns {Promise<Model>}
   */
  static async read(buffer) {
    const view = new DataView(buffer);
    const start = 8 + HASH_BYTES;
    if (buffer.byteLength < start + 4 || view.getUint32(0, true) !== MAGIC) {
      throw new Error("not a model for browsers");
    }
    if (view.getUint32(4, true) !== VERSION) throw new Error("a model of another version");
    // Only there for pages from https or localhost.
    const subtle = globalThis.crypto?.subtle;
    if (subtle) {
      const hash = new Uint8Array(await subtle.digest("SHA-256", buffer.slice(start)));
      const said = new Uint8Array(buffer, 8, HASH_BYTES);
      if (hash.some((byte, i) => byte !== said[i])) throw new Error("the model is damaged");
    }
    const at = start + 4;
    const length = view.getUint32(start, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, at, length)));
    return new Model(header, buffer, at + length);
  }

  constructor(header, buffer, start) {
    /** @type {string} */
    this.name = header.name;
    /** @type {string} */
    this.modelId = header.model_id;
    /** @type {Record<string, number>} */
    this.dims = header.dims;
    this.#tensors = new Map(
      Object.entries(header.tensors).map(([name, { form, shape, at, size }]) => {
        const values =
          form === "deltas"
            ? readDeltas(new Uint8Array(buffer, start + at, size), shape)
            : new FORMS[form](buffer, start + at, product(shape));
        return [name, { shape, values }];
      }),
    );
  }

  has(name) {
    return this.#tensors.has(name);
  }

  /** @returns {Tensor} */
  tensor(name) {
    const tensor = this.#tensors.get(name);
    if (!tensor) throw new Error(`model ${this.name} has no tensor ${name}`);
    return tensor;
  }
}

const product = (shape) => shape.reduce((size, side) => size * side, 1);

/** Rows less the row before, as zigzag varints; 0 is followed by how many more there are. */
function readDeltas(bytes, shape) {
  const values = new Int32Array(product(shape));
  const width = values.length / shape[0];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
  };
  for (let i = 0; i < values.length;) {
    const zigzag = varint();
    if (zigzag) values[i++] = zigzag & 1 ? -(zigzag + 1) / 2 : zigzag / 2;
    else i += varint() + 1;
  }
  for (let i = width; i < values.length; i++) values[i] += values[i - width];
  return values;
}
