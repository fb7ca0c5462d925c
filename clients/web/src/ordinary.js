// Watches a room as ordinary video that the relay makes of the neural stream.

import { RoomViewer } from "./room_viewer.js";
import { openSession } from "./session.js";

/** A viewer that shows VP8 or H.264 in a video element; events as `RoomViewer` has them. */
export class OrdinaryViewer extends RoomViewer {
  #url;
  #video;
  #headers;
  #matchedRung;

  /**
   * `url` is the WHEP endpoint of a room; `options.headers()` returns headers for the relay;
   * `options.matchedRung()` returns the rung whose latents VP8 shall cost as much as, asked when it
   * connects; null for the relay's own rate.
   */
  constructor(url, video, { headers = () => ({}), matchedRung = () => null } = {}) {
    super();
    this.#url = new URL(url, location.href);
    this.#video = video;
    this.#headers = headers;
    this.#matchedRung = matchedRung;
  }

  async connect(peer, signal) {
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addEventListener("track", ({ track }) => {
      this.#video.srcObject = new MediaStream([track]);
    });
    const endpoint = new URL(this.#url);
    const rung = this.#matchedRung();
    if (rung !== null) endpoint.search = `?rate=match&rung=${rung}`;
    return openSession(endpoint.href, peer, this.#headers(), signal);
  }
}
