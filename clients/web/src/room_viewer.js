// What viewers of every kind have in common: a connection that comes back, and figures of it.

import { Rates, readInbound } from "./figures.js";
import { Keeper } from "./keeper.js";

const BEAT_MS = 1000;

/**
 * Watches a room over WHEP.
 *
 * Events, all `CustomEvent`: `state` as `Keeper` tells it, and `figures` once a second while the
 * connection stands. A subclass has `connect(peer, signal)`, as `Keeper` wants it, and may have
 * `complete(figures, rates)`.
 */
export class RoomViewer extends EventTarget {
  #keeper = new Keeper({
    connect: (peer, signal) => this.#open(peer, signal),
    tell: (news) => this.#hear(news),
  });
  #peer = null;
  #timer = null;
  #rates = new Rates();
  #figures = null;

  get isRunning() {
    return this.#keeper.isRunning;
  }

  /** The figures of the last second; null before the first of a connection. */
  get figures() {
    return this.#figures;
  }

  /** Connect, and come back whenever the connection is lost. */
  start() {
    this.#timer ??= setInterval(() => this.#beat().catch(() => {}), BEAT_MS); // it was closed
    this.#keeper.start();
  }

  /** Leave the room; `start` comes back. */
  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#peer = null;
    this.#keeper.stop();
  }

  /** Connect anew: with another token, say. */
  restart() {
    this.stop();
    this.start();
  }

  /**
   * Connect once.
   * @param {RTCPeerConnection} _peer
   * @param {AbortSignal} _signal
   * @returns {Promise<import("./session.js").Session>}
   */
  connect(_peer, _signal) {
    throw new Error("a subclass connects");
  }

  /** Return the figures of the network with what else there is. */
  complete(network, _rates) {
    return network;
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #open(peer, signal) {
    this.#rates = new Rates();
    this.#figures = null;
    return this.connect(peer, signal);
  }

  #hear(news) {
    this.#peer = news.state === "connected" ? news.peer : null;
    this.emit("state", news);
  }

  async #beat() {
    const peer = this.#peer;
    if (!peer) return;
    const rates = this.#rates;
    const network = readInbound(await peer.getStats(), rates);
    if (this.#peer !== peer) return;
    const figures = this.complete(network, rates);
    this.#keeper.beat(figures.bytes > (this.#figures?.bytes ?? 0));
    this.#figures = figures;
    this.emit("figures", figures);
  }
}
