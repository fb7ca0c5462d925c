// Watches a room as ordinary video that the relay makes of the neural stream.

import { RoomViewer } from "./room_viewer.js";
import { openSession } from "./session.js";

/** A viewer that shows VP8 or H.264 in a video element; events as `RoomViewer` has them. */
export class OrdinaryViewer extends RoomViewer {
  #url;
  #video;
  #headers;

  /** `url` is the WHEP endpoint of a room; `options.headers()` returns headers for the relay. */
  constructor(url, video, { headers = () => ({}) } = {}) {
    super();
    this.#url = new URL(url, location.href);
    this.#video = video;
    this.#headers = headers;
  }

  async connect(peer, signal) {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addEventListener("track", ({ track }) => {
      this.#video.srcObject = new MediaStream([track]);
    });
    return openSession(this.#url.href, peer, this.#headers(), signal);
  }
}
