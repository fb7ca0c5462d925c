// One connection's frames, from those that come in to pictures. Runs in the worker.

import { BitstreamError } from "./errors.js";
import { FrameFigures } from "./frame_figures.js";
import { FrameOrder } from "./order.js";
import { FrameReporter, KEYFRAME_REQUEST } from "./report.js";

const PATIENCE_MS = 150; // for a frame that is asked for again; a round trip or two
const MAX_WAITING = 4; // frames before the decoder; the oldest goes
const MAX_OPENING = 60; // while the decoder is opened, and until it has caught up
const KEYFRAME_EVERY_MS = 500;
const HOPELESS_FRAMES = 300; // undecodable one after the other: a stream that is not for us

/** Decodes the frames of one connection, and shows them. */
export class LatentStream {
  #decoder;
  #show;
  #tell;
  #order = new FrameOrder(PATIENCE_MS);
  #reporter = new FrameReporter();
  #figures = new FrameFigures();
  #waiting = [];
  #maxWaiting = MAX_OPENING;
  /** @type {(value?: unknown) => void} */
  #wake = () => {};
  #timer = null;
  #askedMs = -Infinity;
  #nUndecodable = 0; // one after the other
  #isOver = false;

  /**
   * `decoder` is a promise; `show(picture, decoder)` draws; `tell(message)` reaches the page:
   * `{kind: "report", data}` for the relay, `{kind: "shown", ...}` for each picture.
   */
  constructor({ decoder, show, tell }) {
    this.#decoder = decoder;
    this.#show = show;
    this.#tell = tell;
  }

  get figures() {
    return { ...this.#figures.report(this.#order), waiting: this.#waiting.length };
  }

  get workMs() {
    return this.#figures.workMs;
  }

  get intervalMs() {
    return this.#figures.intervalMs;
  }

  /** Run until the connection ends. Rejects if there is no decoder, or it fails. */
  async run() {
    try {
      await this.#decode();
    } finally {
      this.end();
    }
  }

  /** Take nothing more. */
  end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#wake();
  }

  noteBytes(nBytes) {
    this.#figures.bytes += nBytes;
  }

  noteMalformed() {
    this.#figures.malformed += 1;
  }

  /** Take a frame as `readCarried` or a `FrameAssembly` returns it. */
  receive(frame) {
    if (this.#isOver) return;
    const nowMs = performance.now();
    frame.arrivedMs = nowMs;
    this.#figures.noteMessages(frame);
    if (!frame.packets.length) return; // lost, as one of which nothing came
    this.#figures.keyframes += Number(frame.isKeyframe);
    this.#order.add(frame, nowMs);
    this.#advance();
  }

  /** Let frames through to the decoder that may go on. */
  #advance() {
    clearTimeout(this.#timer);
    const nowMs = performance.now();
    for (let frame; (frame = this.#order.take(nowMs));) {
      if (frame.timing) {
        this.#figures.notePts(frame.timing.pts);
        this.#noteNetwork(frame);
      }
      this.#waiting.push(frame);
    }
    while (this.#waiting.length > this.#maxWaiting) {
      this.#waiting.shift();
      this.#figures.dropped += 1;
    }
    const { deadlineMs } = this.#order;
    if (deadlineMs !== null) {
      this.#timer = setTimeout(() => this.#advance(), Math.max(0, deadlineMs - nowMs) + 1);
    }
    this.#wake();
  }

  /** From the bytes being ready in the relay until here; of use where both clocks agree. */
  #noteNetwork({ timing, arrivedMs }) {
    const sum = Object.values(timing.stagesMs).reduce((one, other) => one + other, 0);
    const ms = performance.timeOrigin + arrivedMs - (timing.receivedMs + sum);
    if (ms >= 0 && ms < 10_000) this.#figures.time("network", ms);
  }

  async #decode() {
    const decoder = await this.#decoder;
    while (!this.#isOver) {
      if (this.#waiting.length < MAX_WAITING) this.#maxWaiting = MAX_WAITING;
      if (!this.#waiting.length) {
        await new Promise((resolve) => (this.#wake = resolve));
        continue;
      }
      this.#decodeOne(decoder, this.#waiting.shift());
      await turn(); // frames that came meanwhile are read
    }
  }

  #decodeOne(decoder, frame) {
    const startedMs = performance.now();
    let picture;
    try {
      picture = decoder.decode(frame.packets);
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      this.#figures.undecodable += 1;
      this.#nUndecodable += 1;
      if (this.#nUndecodable === HOPELESS_FRAMES) throw new Error(error.message);
      if (error.needs === "keyframe") {
        this.#report(error.unheldFrame, false, 1, startedMs);
        this.#askKeyframe(startedMs);
      }
      return;
    }
    const decodedMs = performance.now();
    this.#nUndecodable = 0;
    this.#report(picture.frameNumber, picture.isComplete, 1 - picture.present, decodedMs);
    this.#show(picture, decoder);
    const shownMs = performance.now();
    this.#figures.shown += 1;
    this.#figures.damaged += Number(!picture.isComplete);
    this.#figures.time("wait", startedMs - frame.arrivedMs);
    this.#figures.time("decode", decodedMs - startedMs);
    this.#figures.time("draw", shownMs - decodedMs);
    const { width, height, rung, frameNumber, isComplete } = picture;
    this.#tell({ kind: "shown", width, height, rung, frameNumber, isComplete });
  }

  #report(frameNumber, isHeld, concealed, nowMs) {
    const data = this.#reporter.decided(frameNumber, { isHeld, concealed, nowMs });
    if (data) this.#tell({ kind: "report", data });
  }

  /** There is nothing to predict from at all. */
  #askKeyframe(nowMs) {
    if (nowMs - this.#askedMs < KEYFRAME_EVERY_MS) return;
    this.#askedMs = nowMs;
    this.#tell({ kind: "report", data: KEYFRAME_REQUEST.slice() });
  }
}

const channel = new MessageChannel();
const turns = [];
channel.port1.onmessage = () => turns.shift()();

/** Let everything else that waits for this thread have its turn; a timer would take 4 ms. */
function turn() {
  return new Promise((resolve) => {
    turns.push(resolve);
    channel.port2.postMessage(null);
  });
}
