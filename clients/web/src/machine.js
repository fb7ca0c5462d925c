// The WebAssembly module and its memory: laid out from here, from the bottom up.

const ALIGNMENT = 16;
const PAGE_BYTES = 65536;

/** An instance of the module; addresses are numbers. */
export class Machine {
  #top;
  #memory;

  /**
   * @param {ArrayBuffer | WebAssembly.Module} wasm
   * @returns {Promise<Machine>}
   */
  static async start(wasm) {
    if (wasm instanceof WebAssembly.Module) {
      return new Machine(await WebAssembly.instantiate(wasm, {}));
    }
    return new Machine((await WebAssembly.instantiate(wasm, {})).instance);
  }

  /** @param {WebAssembly.Instance} instance */
  constructor(instance) {
    /** What the C files offer. */
    this.call = /** @type {Record<string, Function>} */ (instance.exports);
    this.#memory = /** @type {WebAssembly.Memory} */ (instance.exports.memory);
    const base = /** @type {WebAssembly.Global} */ (instance.exports.__heap_base).value;
    this.#top = Math.ceil(base / ALIGNMENT) * ALIGNMENT;
  }

  /** Bytes of memory that there are; never fewer. */
  get memoryBytes() {
    return this.#memory.buffer.byteLength;
  }

  /** Where the next thing will be: for `release`. */
  get mark() {
    return this.#top;
  }

  /** Let go of all that was allocated since `mark` was this. */
  release(mark) {
    this.#top = mark;
  }

  /** See to it that so many bytes can be allocated without memory growing. */
  reserve(size) {
    const { mark } = this;
    this.allocate(size);
    this.release(mark);
  }

  /** Make room, holding anything; RangeError where memory ends. */
  allocate(size) {
    const at = this.#top;
    const top = at + Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    const missing = top - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
    this.#top = top;
    return at;
  }

  /**
   * Numbers in memory, a view: until memory grows.
   * @template T
   * @param {{ new (buffer: ArrayBuffer, at: number, length: number): T }} Type
   * @returns {T}
   */
  view(Type, at, length) {
    return new Type(this.#memory.buffer, at, length);
  }

  /**
   * Copy numbers into memory.
   * @param {Uint8Array | Int8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array} array
   * @returns {number} Where to.
   */
  put(array) {
    const at = this.allocate(array.byteLength);
    this.view(/** @type {any} */ (array.constructor), at, array.length).set(array);
    return at;
  }

  /** Write a struct, whose fields are words of 32 bits. */
  words(...fields) {
    return this.put(Int32Array.from(fields.flat()));
  }
}
