// Counts and times of what a tab did with the frames that came to it.

const KEPT = 128; // of the times of each stage

/** The last times of one thing, for its median and 95th percentile. */
class Times {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > KEPT) this.#values.shift();
  }

  /** Return `{p50, p95}` in the unit of the values, or null without any. */
  get summary() {
    if (!this.#values.length) return null;
    const sorted = [...this.#values].sort((one, other) => one - other);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    return { p50: at(0.5), p95: at(0.95) };
  }
}

/**
 * What became of every frame of one connection.
 *
 * Frames that were sent since the first that came are `shown`, `undecodable`, `dropped`, `lost` or
 * still on their way.
 */
export class FrameFigures {
  /** Pictures drawn. */
  shown = 0;
  /** Of those, pictures with made up parts. */
  damaged = 0;
  /** Frames that nothing could be made of. */
  undecodable = 0;
  /** Frames that newer ones pushed out before they were decoded. */
  dropped = 0;
  /** Frames that were no frames of ours. */
  malformed = 0;
  keyframes = 0;
  bytes = 0;
  /** Messages that the frames came in, where a data channel brings them, those missing included. */
  messages = 0;
  messagesLost = 0;
  #stages = { network: new Times(), wait: new Times(), decode: new Times(), draw: new Times() };
  #intervals = new Times();
  #lastPts = null;

  /** Note the time that a stage took, milliseconds. */
  time(stage, ms) {
    this.#stages[stage].add(ms);
  }

  /** Note in how many messages a frame came, if it did, and how many of those did not. */
  noteMessages({ count = 0, missing = 0 }) {
    this.messages += count;
    this.messagesLost += missing;
  }

  /** Note the time stamp of a frame that came, 90 kHz, 32 bits. */
  notePts(pts) {
    const step = this.#lastPts === null ? 0 : (pts - this.#lastPts) | 0;
    if (step > 0 && step < 90_000) this.#intervals.add(step / 90);
    this.#lastPts = pts;
  }

  /** Milliseconds between frames, or null. */
  get intervalMs() {
    return this.#intervals.summary?.p50 ?? null;
  }

  /** Milliseconds that decoding and drawing take as a rule, or null. */
  get workMs() {
    const { decode, draw } = this.#stages;
    return decode.summary && decode.summary.p50 + draw.summary.p50;
  }

  /** Return all of it as plain values; `order` has what got lost. */
  report(order) {
    const stagesMs = {};
    for (const [name, times] of Object.entries(this.#stages)) stagesMs[name] = times.summary;
    const { shown, damaged, undecodable, dropped, malformed, keyframes, bytes } = this;
    const { messages, messagesLost, intervalMs } = this;
    const { lost, late, seen } = order;
    return {
      ...{ shown, damaged, undecodable, dropped, malformed, keyframes, bytes },
      ...{ messages, messagesLost, intervalMs, lost, late, seen, stagesMs },
    };
  }
}
