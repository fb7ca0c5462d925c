// Types of the viewer of ordinary video.

import type { RoomViewer, ViewerOptions } from "./viewer.js";

/** Watches a room as VP8 or H.264 in a video element. */
export declare class OrdinaryViewer extends RoomViewer {
  constructor(
    url: string | URL,
    video: HTMLVideoElement,
    options?: ViewerOptions & {
      /** Rung whose latents VP8 shall cost as much as; null for the relay's own rate. */
      matchedRung?: () => number | null;
    },
  );
}
