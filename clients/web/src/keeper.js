// Keeps a session up: connects, notices when it is lost, waits and comes back, until told to stop.

import { Refused } from "./session.js";

const CONNECT_MS = 15_000; // an answer was there, media were not: beyond this they will not come
const QUIET_MS = 3_000; // no media for so long: ask whether the session is still there
const PROBE_MS = 3_000;
const PAUSES_S = [1, 2, 3, 5];

const PASSING = new Set([429, 502, 503, 504]);
const TAKEN = 409;

/** Why a session that stood does no longer. */
class Lost extends Error {
  /** Whether the relay has none either: nothing is left to leave. */
  get isOver() {
    return this.message === "ended" || this.message === "gone";
  }
}

/** One session and its connection, until it is lost. */
class Link {
  #peer;
  #session;
  #movedMs = performance.now();
  #probedMs = 0;
  #lose;

  constructor(peer, session) {
    this.#peer = peer;
    this.#session = session;
    this.lost = new Promise((_, reject) => (this.#lose = reject));
    this.lost.catch(() => {}); // it may be lost while nobody waits
    peer.addEventListener("connectionstatechange", () => this.#look());
    const ofMedia = peer.getTransceivers().map(({ receiver }) => receiver.transport);
    for (const transport of [...ofMedia, peer.sctp?.transport]) {
      // a relay that ends in order says so: no need to wait until ICE finds out
      transport?.addEventListener("statechange", () => {
        if (transport.state === "closed") this.lose("ended");
        if (transport.state === "failed") this.lose("network");
      });
    }
  }

  get session() {
    return this.#session;
  }

  lose(why) {
    this.#lose(new Lost(why));
  }

  #look() {
    if (this.#peer.connectionState === "failed") this.lose("network");
  }

  /** Resolves when media can flow. */
  connected() {
    const standing = new Promise((resolve) => {
      const look = () => this.#peer.connectionState === "connected" && resolve();
      this.#peer.addEventListener("connectionstatechange", look);
      look();
    });
    setTimeout(() => {
      if (["new", "connecting"].includes(this.#peer.connectionState)) this.lose("no way");
    }, CONNECT_MS);
    return Promise.race([standing, this.lost]);
  }

  /** Note once a second whether media moved since; finds out about a relay that started anew. */
  beat(hasMoved) {
    const nowMs = performance.now();
    if (hasMoved) this.#movedMs = nowMs;
    if (nowMs - this.#movedMs < QUIET_MS || nowMs - this.#probedMs < PROBE_MS) return;
    this.#probedMs = nowMs;
    this.#session.isThere().then(
      (isThere) => isThere || this.lose("gone"),
      () => {}, // neither here nor there: ICE will say when to give up
    );
  }
}

/**
 * Runs `connect` again and again until it is stopped or refused for good.
 *
 * `connect(signal)` resolves to `{peer, session}`. `tell` gets what goes on: `{state, ...}` with
 * state one of connecting, connected, lost, waiting (`error`, `seconds`), refused (`error`),
 * stopped.
 */
export class Keeper {
  #connect;
  #tell;
  #stopping = null;
  #comesBack = false;
  #link = null;
  #leave = () => this.#link?.session.leave();

  constructor({ connect, tell }) {
    this.#connect = connect;
    this.#tell = tell;
  }

  get isRunning() {
    return this.#stopping !== null;
  }

  /** The present session, or null. */
  get session() {
    return this.#link?.session ?? null;
  }

  /** Connect; if it is still leaving, once it has left. */
  start() {
    if (this.isRunning) {
      this.#comesBack = this.#stopping.signal.aborted;
      return;
    }
    this.#comesBack = false;
    this.#stopping = new AbortController();
    addEventListener("pagehide", this.#leave);
    this.#run(this.#stopping.signal).finally(() => {
      if (!this.isRunning) removeEventListener("pagehide", this.#leave);
    });
  }

  /** Leave; it still runs until "stopped" is told. */
  stop() {
    this.#comesBack = false;
    this.#stopping?.abort();
  }

  beat(hasMoved) {
    this.#link?.beat(hasMoved);
  }

  async #run(signal) {
    let hasStood = false;
    for (let failures = 0; !signal.aborted;) {
      let peer = null;
      let link = null;
      let error;
      try {
        this.#tell({ state: "connecting", again: hasStood || failures > 0 });
        peer = new RTCPeerConnection();
        const session = await this.#connect(peer, signal);
        this.#link = link = new Link(peer, session);
        await unlessAborted(link.connected(), signal);
        if (signal.aborted) throw signal.reason;
        [hasStood, failures] = [true, 0];
        this.#tell({ state: "connected", peer });
        await unlessAborted(link.lost, signal);
      } catch (caught) {
        error = caught;
      }
      if (this.#link === link) this.#link = null;
      const departed = depart(peer, error?.isOver ? null : link?.session);
      if (signal.aborted) {
        await departed;
        break;
      }
      if (!passes(error, hasStood)) {
        this.#stopping = null;
        this.#tell({ state: "refused", error });
        return;
      }
      const pauseS = PAUSES_S[Math.min(failures++, PAUSES_S.length - 1)];
      const seconds = Math.max(error.retryAfterS ?? 0, pauseS);
      this.#tell({ state: error instanceof Lost ? "lost" : "waiting", error, seconds });
      await pause(seconds, signal);
    }
    this.#stopping = null;
    this.#tell({ state: "stopped" });
    if (this.#comesBack) this.start();
  }
}

/** Leave first, then close: a relay that sees a connection closed ends its session by itself. */
async function depart(peer, session) {
  await session?.leave();
  peer?.close();
}

/** Return whether it is worth coming again. */
function passes(error, hasStood) {
  if (!(error instanceof Refused)) return error instanceof Lost || error instanceof TypeError;
  // after a loss it is most often our own former session that still has the room
  return PASSING.has(error.status) || (error.status === TAKEN && hasStood);
}

/** Settle as a promise does, or resolve as soon as the signal is aborted. */
function unlessAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", resolve, { once: true });
    // a signal may outlive many connections: none leaves a listener behind
    const settled = promise.then(resolve, reject);
    settled.finally(() => signal.removeEventListener("abort", resolve));
  });
}

/** Wait; less if the network comes back. */
function pause(seconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    addEventListener("online", end);
    signal.addEventListener("abort", end, { once: true });
  });
}
