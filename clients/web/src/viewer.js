// Watches a room's neural stream on a canvas: connection here, decoding and drawing in a worker.

import { channelFigures } from "./figures.js";
import { RoomViewer } from "./room_viewer.js";
import { openSession } from "./session.js";
import { startWorker } from "./worker_script.js";

const WORKER = new URL("./worker.js", import.meta.url);

/** A browser that cannot do it. */
export class Unsupported extends Error {}

/** Return what this browser lacks for the neural stream, in words, or null. */
export function findMissing() {
  if (!globalThis.WebAssembly) return "this browser has no WebAssembly";
  if (!HTMLCanvasElement.prototype.transferControlToOffscreen)
    return "this browser draws from no worker";
  return null;
}

/**
 * A viewer of the neural stream. It comes in what the browser takes for VP8, or over a data channel
 * where the browser hands no frames to pages.
 *
 * Events beside those of `RoomViewer`: `failed` (`{reason}`: no picture will come), `first` (`{ms}`
 * from `start` to the first picture), `speed` (`{workMs, intervalMs, keepsUp}`, once for a
 * connection), `shown` for every picture.
 */
export class RtcodecViewer extends RoomViewer {
  #url;
  #headers;
  #assets;
  #carrier;
  #canvas;
  #worker = null;
  #channel = null;
  #startedMs = 0;
  #firstMs = null;
  #work = null; // figures of the worker
  #picture = null;
  #isPerceptual = false;
  #grabs = new Map();
  #nGrabs = 0;

  /**
   * `url` is the WHEP endpoint of a room, `canvas` one that nothing was drawn on yet.
   *
   * `options.headers()` returns headers for the relay (a token); `options.assets` is the address of
   * the list of wasm and model, the relay's own if not given; `options.carrier` is "vp8" or "data",
   * what this browser can do if not given. Throws `Unsupported`.
   */
  constructor(url, canvas, { headers = () => ({}), assets = null, carrier = null } = {}) {
    super();
    const missing = findMissing();
    if (missing) throw new Unsupported(missing);
    this.#url = new URL(url, location.href);
    this.#headers = headers;
    this.#assets = new URL(assets ?? "/web/decoder.json", this.#url);
    this.#carrier = carrier ?? (globalThis.RTCRtpScriptTransform ? "vp8" : "data");
    this.#canvas = canvas;
  }

  start() {
    if (!this.isRunning) {
      this.#startedMs = performance.now();
      this.#firstMs = null;
    }
    if (!this.#worker) this.#openWorker();
    super.start();
  }

  /** Leave for good: the canvas keeps the last picture and takes no other. */
  close() {
    this.stop();
    this.#worker?.terminate();
    for (const { reject } of this.#grabs.values()) reject(new Error("the viewer was closed"));
    this.#grabs.clear();
  }

  /** Whether pictures aim at structure that eyes look for, not at the least error. */
  get isPerceptual() {
    return this.#isPerceptual;
  }

  /** From the next picture on: bits, and what later ones are made of, are the same either way. */
  set isPerceptual(wanted) {
    this.#isPerceptual = wanted;
    this.#worker?.postMessage({ kind: "head", isPerceptual: wanted });
  }

  /** What is drawn, as a stream for a video element or a recorder. */
  mediaStream() {
    return this.#canvas.captureStream();
  }

  /**
   * Resolves to the next picture: `{width, height, frameNumber, isComplete, y, u, v}`. Rejects if the
   * viewer was never started, or is closed before there is one.
   */
  async grab() {
    if (!this.#worker) throw new Error("the viewer was not started");
    const id = (this.#nGrabs += 1);
    this.#worker.postMessage({ kind: "grab", id });
    return new Promise((resolve, reject) => this.#grabs.set(id, { resolve, reject }));
  }

  async connect(peer, signal) {
    if (this.#carrier === "data") this.#receiveMessages(peer);
    else this.#receiveFrames(peer);
    this.#work = this.#picture = null;
    const endpoint = new URL(this.#url);
    endpoint.searchParams.set("carrier", this.#carrier);
    return openSession(endpoint.href, peer, this.#headers(), signal);
  }

  #receiveFrames(peer) {
    const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
    const { codecs } = RTCRtpReceiver.getCapabilities("video");
    transceiver.setCodecPreferences?.(
      codecs.filter(({ mimeType }) => ["video/VP8", "video/rtx"].includes(mimeType)),
    );
    transceiver.receiver.transform = new RTCRtpScriptTransform(this.#worker, {});
    // reports repeat themselves: one that is lost is not worth sending again
    this.#channel = peer.createDataChannel("reports", { ordered: false, maxRetransmits: 0 });
  }

  #receiveMessages(peer) {
    const channel = peer.createDataChannel("latents", { ordered: false, maxRetransmits: 1 });
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", ({ data }) => {
      if (channel !== this.#channel) return; // of a former connection
      this.#worker.postMessage({ kind: "message", message: data }, [data]);
    });
    this.#channel = channel;
    this.#worker.postMessage({ kind: "channel" });
  }

  complete(network, rates) {
    const { width, height, rung } = this.#picture ?? {};
    const work = this.#work;
    if (this.#carrier === "data") network = { ...network, ...channelFigures(work, rates) };
    return {
      ...network,
      ...{ width, height, rung, work, carrier: this.#carrier },
      frames: work?.shown ?? 0,
      fps: rates.of("shown", work?.shown, performance.now()),
      firstMs: this.#firstMs,
    };
  }

  #tellSpeed({ workMs, intervalMs }) {
    this.emit("speed", { workMs, intervalMs, keepsUp: workMs < intervalMs });
  }

  #openWorker() {
    this.#worker = startWorker(WORKER, "rtcodec");
    this.#worker.addEventListener("message", ({ data }) => this.#hearWorker(data));
    this.#worker.addEventListener("error", ({ message }) =>
      this.emit("failed", { reason: message || "its worker could not be loaded" }),
    );
    const canvas = this.#canvas.transferControlToOffscreen();
    this.#worker.postMessage({ kind: "open", canvas, assets: this.#assets.href }, [canvas]);
    this.isPerceptual = this.#isPerceptual;
  }

  #hearWorker(message) {
    switch (message.kind) {
      case "report":
        if (this.#channel?.readyState === "open") this.#channel.send(message.data);
        break;
      case "shown":
        this.#picture = message;
        if (this.#firstMs === null) {
          performance.mark("rtcodec first picture");
          this.#firstMs = performance.now() - this.#startedMs;
          this.emit("first", { ms: this.#firstMs });
        }
        this.emit("shown", message);
        break;
      case "speed":
        this.#tellSpeed(message);
        break;
      case "figures":
        this.#work = message.figures;
        break;
      case "grabbed":
        this.#grabs.get(message.id)?.resolve(message.picture);
        this.#grabs.delete(message.id);
        break;
      case "failed":
        this.emit("failed", { reason: message.reason });
    }
  }
}
