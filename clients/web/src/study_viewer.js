// Views the studies of a room: the connection here, everything that takes long in a worker.

import { RoomViewer } from "./room_viewer.js";
import { openSession } from "./session.js";
import { CHANNEL_LABEL } from "./study_message.js";
import { startWorker } from "./worker_script.js";

const WORKER = new URL("./study_worker.js", import.meta.url);

/**
 * A viewer of studies, docs/studies.md. What it holds outlives a connection, and is not sent again.
 *
 * Events beside those of `RoomViewer` are in study_viewer.d.ts.
 */
export class StudyViewer extends RoomViewer {
  #url;
  #headers;
  #worker;
  #channel = null;
  #bytes = 0;

  /**
   * `url` is the endpoint `/study/{room}`; `options.headers()` returns headers for the relay (a
   * token).
   */
  constructor(url, { headers = () => ({}) } = {}) {
    super();
    this.#url = new URL(url, location.href);
    this.#headers = headers;
    this.#worker = startWorker(WORKER, "rtcodec studies");
    this.#worker.addEventListener("message", ({ data }) => this.#hear(data));
    this.#worker.addEventListener("error", ({ message }) =>
      this.emit("failed", { reason: message || "its worker could not be loaded" }),
    );
    const file = (name) => new URL(`/web/${name}`, this.#url).href;
    const assets = { exact: file("exact.wasm"), previewAssets: file("study_decoder.json") };
    this.#worker.postMessage({ kind: "start", ...assets });
  }

  /** Show a picture of the list, by its id. */
  open(id, frame = 0) {
    this.#worker.postMessage({ kind: "open", id, frame });
  }

  /** Show another frame of it; of a cine, as far as it is there. */
  show(number, { isCine = false } = {}) {
    this.#worker.postMessage({ kind: "show", number, isCine });
  }

  /** Say which part of the frame is seen, in samples, or null for all: it comes first. */
  look(region) {
    this.#worker.postMessage({ kind: "look", region });
  }

  /** Leave for good. */
  close() {
    this.stop();
    this.#worker.terminate();
  }

  async connect(peer, signal) {
    const channel = peer.createDataChannel(CHANNEL_LABEL);
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", ({ data }) => {
      if (channel !== this.#channel) return; // of a former connection
      this.#bytes += data.byteLength;
      this.#worker.postMessage({ kind: "message", data }, [data]);
    });
    this.#channel = channel;
    this.#bytes = 0;
    this.#worker.postMessage({ kind: "channel" });
    return openSession(this.#url.href, peer, this.#headers(), signal);
  }

  complete(network, rates) {
    const bytes = this.#bytes;
    const rate = rates.of("bytes", bytes, performance.now());
    return { ...network, bytes, kbps: rate === null ? null : (rate * 8) / 1000 };
  }

  #hear(message) {
    switch (message.kind) {
      case "send":
        if (this.#channel?.readyState === "open") this.#channel.send(message.data);
        break;
      case "again": // for what was dropped, and is not sent twice in a session
        this.restart();
        break;
      case "broken":
        this.stop();
        this.emit("failed", { reason: `the relay sent what makes no sense: ${message.reason}` });
        break;
      default:
        this.emit(message.kind, message);
    }
  }
}
