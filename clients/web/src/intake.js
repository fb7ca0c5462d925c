// The two ways that frames come in: whole, from the browser's depacketizer, or in messages.

import { Malformed, readCarried } from "./carried.js";
import { FrameAssembly, readPayload } from "./payload.js";
import { STILL_HERE } from "./report.js";

const PATIENCE_MS = 100; // for a message that is sent again; less than frames wait for each other
const STILL_HERE_MS = 1000;

/** Give a stream what a transformer reads, until the connection ends. */
export async function readTransformer({ readable }, stream) {
  const reader = readable.getReader(); // Safari iterates over no stream
  try {
    for (let got; !(got = await reader.read()).done;) {
      const { data } = got.value;
      const frame = attempt(() => readCarried(new Uint8Array(data)), stream);
      stream.noteBytes(data.byteLength);
      if (frame) stream.receive(frame);
    }
  } catch {
    // the connection ended
  }
  stream.end();
}

/** Puts together what comes over a data channel, and tells the relay that this page runs. */
export class MessageIntake {
  #stream;
  #assembly = new FrameAssembly(PATIENCE_MS);
  #expiry = null;
  #telling;

  /** `tell(message)` reaches the page, as that of `LatentStream`. */
  constructor(stream, tell) {
    this.#stream = stream;
    const tellStillHere = () => tell({ kind: "report", data: STILL_HERE.slice() });
    this.#telling = setInterval(tellStillHere, STILL_HERE_MS);
  }

  /** Take a message, an ArrayBuffer. */
  receive(data) {
    this.#stream.noteBytes(data.byteLength);
    const payload = attempt(() => readPayload(new Uint8Array(data)), this.#stream);
    if (!payload) return;
    const frame = this.#assembly.add(payload, performance.now());
    if (frame) this.#stream.receive(frame);
    this.#giveUp();
  }

  end() {
    clearInterval(this.#telling);
    clearTimeout(this.#expiry);
  }

  #giveUp() {
    clearTimeout(this.#expiry);
    const nowMs = performance.now();
    for (let frame; (frame = this.#assembly.giveUp(nowMs));) this.#stream.receive(frame);
    const { deadlineMs } = this.#assembly;
    if (deadlineMs === null) return;
    this.#expiry = setTimeout(() => this.#giveUp(), Math.max(0, deadlineMs - nowMs) + 1);
  }
}

function attempt(read, stream) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    stream.noteMalformed();
    return null;
  }
}
