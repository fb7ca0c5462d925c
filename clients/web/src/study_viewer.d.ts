// Types of the viewer of studies. What the words mean: docs/studies.md, study_viewer.js.

import type { Samples, Tile } from "./exact.js";
import type { ExactFormat } from "./exact_file.js";
import type { Rect } from "./study_message.js";
import type { RoomEvents, RoomViewer, ViewerOptions } from "./viewer.js";
import type { Display } from "./window.js";

/** One picture of the room, as far as it has come. */
export interface StudyPicture {
  id: string;
  /** An INSTANCE, as the relay last described it. */
  about: Record<string, any>;
  /** Why the relay cannot give it. */
  problem: string | null;
  /** Whether every frame has the hash that was promised. */
  isVerified: boolean;
  /** How many have. */
  proven: number;
  heldBytes: number;
  sizeBytes: number | null;
  /** That came although they were held; none, where relay and viewer do as they should. */
  repeatedBytes: number;
}

/** What a message is of: a picture's id, and the number of a frame. */
interface OfFrame {
  id: string;
  number: number;
}

/** How many steps of six are shown: of all tiles, and of those that are seen. */
interface Steps {
  all: number;
  here: number;
}

export interface StudyEvents extends RoomEvents {
  /** All pictures of the room; once for each connection. */
  pictures: CustomEvent<{ pictures: StudyPicture[] }>;
  /** One of them has changed, or more of it has come. */
  picture: CustomEvent<{ picture: StudyPicture }>;
  header: CustomEvent<OfFrame & { header: ExactFormat; display: Display }>;
  /** Not for diagnosis: neural, 8 bits, windowed, smaller by a whole factor. */
  preview: CustomEvent<
    OfFrame & { width: number; height: number; rgba: Uint8ClampedArray<ArrayBuffer> }
  >;
  /** Samples, of all tiles of the frame if they are the first of it. */
  tiles: CustomEvent<OfFrame & Steps & { tiles: Tile[]; isFirst: boolean }>;
  /** Another part is seen. */
  steps: CustomEvent<OfFrame & Steps>;
  /** A whole frame that came otherwise after an alarm. */
  frame: CustomEvent<OfFrame & { samples: Samples; steps: number }>;
  /** What came of the hash; `isAsked`: the frame was asked for otherwise. */
  proof: CustomEvent<OfFrame & { isProven: boolean; isAsked: boolean }>;
  /** Nothing more is to be done for the frame until more comes. */
  rest: CustomEvent<OfFrame>;
  /** A frame that is not shown was proven. */
  proven: CustomEvent<{ id: string }>;
  /** An ERROR of the relay. */
  refused: CustomEvent<{ code: string; detail: string }>;
  failed: CustomEvent<{ reason: string }>;
}

/** Views the studies of a room. */
export declare class StudyViewer extends RoomViewer<StudyEvents> {
  constructor(url: string | URL, options?: ViewerOptions);
  open(id: string, frame?: number): void;
  show(frame: number, options?: { isCine?: boolean }): void;
  look(region: Rect | null): void;
  /** Leave for good. */
  close(): void;
}
