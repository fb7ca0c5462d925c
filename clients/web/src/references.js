// Which states a decoder holds, SPEC.md 4.4: `ReceiverReferences` of rtcodec/codec/reference.py.

import { slotOf } from "./packet.js";

/** Slots to the states in them, and which of those are as the sender has them. */
export class References {
  /** @type {Map<number, number>} Slot to state. */
  #held = new Map();
  /** @type {Map<number, number>} The same with damaged ones, the one stored last at the end. */
  #stored = new Map();

  /** Whether a frame with this reference can be decoded as it was meant. */
  has(reference) {
    return reference === null || this.#held.get(slotOf(reference)) === reference;
  }

  /** The slot to paint from: that of the state if it is there at all, else the newest, or null. */
  nearest(reference) {
    const slot = slotOf(reference);
    if (this.#stored.get(slot) === reference) return slot;
    return [...this.#stored.keys()].at(-1) ?? null;
  }

  /**
   * Note a decoded frame.
   * @param {boolean} isKey It empties every slot.
   * @param {?number} store
   * @param {boolean} isWhole Whether no tile is missing and its reference was held.
   */
  decoded(isKey, store, isWhole) {
    if (isKey) {
      this.#held.clear();
      this.#stored.clear();
    }
    if (store === null) return;
    const slot = slotOf(store);
    this.#held.delete(slot);
    this.#stored.delete(slot);
    this.#stored.set(slot, store);
    if (isWhole) this.#held.set(slot, store);
  }
}
