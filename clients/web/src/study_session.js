// A viewer of studies without its connection, as clients/rtcodec_client/study.py has it: asks, keeps
// what comes, tells a next connection what it holds. What it proves nothing of is its worker's.

import { Corrupt } from "./errors.js";
import { PartialPicture } from "./exact_partial.js";
import {
  readFromRelay,
  writeCancel,
  writeHave,
  writeRequest,
  writeStatus,
  writeWantFallback,
} from "./study_message.js";

const FALLBACK_MAX_BYTES = 2 ** 30;

/** One picture, as far as it has come; outlives connections. */
export class HeldPicture {
  constructor(id) {
    /** @type {string} */
    this.id = id;
    /** As the relay last described it: an INSTANCE. */
    this.about = /** @type {any} */ ({});
    /** In the present session. */
    this.number = -1;
    /** Hexadecimal; empty until there is a file. */
    this.version = "";
    /** @type {?PartialPicture} */
    this.part = null;
    /** @type {?{frame: number, width: number, height: number, packets: Uint8Array[]}} */
    this.preview = null;
    /**
     * What came of the hash of each frame that is whole.
     * @type {Map<number, boolean>}
     */
    this.proofs = new Map();
    /**
     * Frames that were damaged and came otherwise, proven.
     * @type {Map<number, import("./exact.js").Samples>}
     */
    this.otherwise = new Map();
    /** Why the relay cannot give it, or null. */
    this.problem = /** @type {?string} */ (null);
  }

  /** Whether every frame has the hash that was promised. */
  get isVerified() {
    const { part, proofs } = this;
    return part !== null && proofs.size === part.frames && [...proofs.values()].every(Boolean);
  }

  /** Drop what is held, which is of another file, and what was made of it. */
  renew(version) {
    if (this.version === version) return;
    this.version = version;
    this.drop();
  }

  /** Drop what is held: with the next connection all of it comes again. */
  drop() {
    this.part = this.problem = null;
    this.proofs.clear();
    this.otherwise.clear();
  }
}

/** The pictures of a room, over one connection after the other. */
export class StudySession {
  #send;
  #hear;
  #held = new Map();
  #nRequests = 0;
  #told = new Set();
  #said = new Set();
  #fallbacks = new Map();

  /**
   * @param {object} given
   * @param {(message: Uint8Array<ArrayBuffer>) => void} given.send
   * @param {(event: any) => void} given.hear Gets `{kind}`: listed; described, preview and data with
   *   `picture`; otherwise with `picture`, `frame` and `bytes`; done with `request`; refused with
   *   `fields`.
   */
  constructor({ send, hear }) {
    this.#send = send;
    this.#hear = hear;
    /**
     * Of the room, by number.
     * @type {HeldPicture[]}
     */
    this.pictures = [];
    /** Whether all of them are known. */
    this.isListed = false;
  }

  /** Begin with a new connection. */
  begin() {
    this.pictures = [];
    this.isListed = false;
    for (const one of [this.#told, this.#said, this.#fallbacks]) one.clear();
  }

  /**
   * Ask for a picture or a part of it, but for what is held.
   * @param {HeldPicture} picture
   * @param {Omit<import("./study_message.js").Request, "request" | "instance">} wish
   * @returns {number} Of the request.
   */
  request(picture, wish) {
    this.#tellHeld(picture);
    const request = (this.#nRequests += 1);
    this.#send(writeRequest({ request, instance: picture.number, ...wish }));
    return request;
  }

  cancel(request) {
    this.#send(writeCancel(request));
  }

  /** Tell the relay, for its audit, what is shown: once in a connection. */
  tell(picture, frame, quality) {
    const said = [picture.number, frame, quality].join();
    if (this.#said.has(said)) return;
    this.#said.add(said);
    this.#send(writeStatus(picture.number, frame, 1, quality));
  }

  /** Ask for a frame that is not what was promised. */
  askOtherwise(picture, frame) {
    this.#send(writeWantFallback(picture.number, frame));
  }

  /** Take a message; throws where it makes no sense. */
  receive(bytes) {
    const message = readFromRelay(bytes);
    switch (message?.kind) {
      case "list":
        for (const about of message.fields.instances) this.#describe(about);
        this.isListed = this.pictures.length >= message.fields.count;
        if (this.isListed) this.#hear({ kind: "listed" });
        break;
      case "instance":
        this.#describe(message.fields);
        break;
      case "index":
        this.#index(this.#of(message), message);
        break;
      case "preview": {
        const picture = this.#of(message);
        const packets = message.packets.map((packet) => packet.slice());
        picture.preview = { ...message, packets };
        this.#hear({ kind: "preview", picture });
        break;
      }
      case "data":
        this.#put(this.#of(message), message.parts);
        break;
      case "fallback":
        this.#takeFallback(this.#of(message), message);
        break;
      case "done":
        this.#hear(message);
        break;
      case "error":
        this.#refused(message.fields);
    }
  }

  /** Say what is held of a picture, once in a connection and before it is asked for. */
  #tellHeld(picture) {
    if (this.#told.has(picture)) return;
    this.#told.add(picture);
    if (!picture.part) return;
    for (const message of writeHave(picture.number, picture.version, picture.part.held)) {
      this.#send(message);
    }
  }

  #of({ instance }) {
    const picture = this.pictures[instance];
    if (!picture) throw new Corrupt(`no instance ${instance}`, 0);
    return picture;
  }

  #describe(about) {
    const number = about.number;
    if (number === this.pictures.length) {
      const id = String(about.id);
      if (!this.#held.has(id)) this.#held.set(id, new HeldPicture(id));
      this.pictures.push(this.#held.get(id));
    }
    const picture = this.#of({ instance: number });
    Object.assign(picture, { number, about });
    picture.problem = about.state === "failed" ? String(about.reason) : null;
    if (about.version) picture.renew(String(about.version));
    this.#hear({ kind: "described", picture });
  }

  #index(picture, { headerBytes, frameBytes }) {
    if (picture.part && !picture.part.isOf(headerBytes, frameBytes)) picture.drop();
    picture.part ??= new PartialPicture(headerBytes, frameBytes);
    this.#hear({ kind: "data", picture }); // held from before, if any is
  }

  #put(picture, parts) {
    if (!picture.part) throw new Corrupt("ranges of a picture without its index", 0);
    for (const { offset, bytes } of parts) picture.part.put(offset, bytes);
    this.#hear({ kind: "data", picture });
  }

  #takeFallback(picture, { frame, totalBytes, offset, bytes }) {
    const key = [picture.number, frame].join();
    const held = this.#fallbacks.get(key) ?? [];
    const sizeBytes = held.reduce((sum, part) => sum + part.length, 0);
    if (offset !== sizeBytes || totalBytes > FALLBACK_MAX_BYTES) {
      throw new Corrupt("parts of a fallback are out of order", 0);
    }
    held.push(bytes.slice());
    this.#fallbacks.set(key, held);
    if (sizeBytes + bytes.length < totalBytes) return;
    this.#fallbacks.delete(key);
    const whole = new Uint8Array(totalBytes);
    let at = 0;
    for (const part of held) {
      whole.set(part, at);
      at += part.length;
    }
    this.#hear({ kind: "otherwise", picture, frame, bytes: whole });
  }

  #refused(fields) {
    if (fields.code === "changed") this.pictures[fields.instance]?.renew("");
    this.#hear({ kind: "refused", fields });
  }
}
