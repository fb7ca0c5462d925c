// Types of the viewer. What the words mean: viewer.js, room_viewer.js, frame_figures.js.

/** Median and 95th percentile, milliseconds. */
export interface Quantiles {
  p50: number;
  p95: number;
}

/** What frames come in: what the browser takes for VP8, or messages of a data channel. */
export type Carrier = "vp8" | "data";

/** What became of the frames of one connection, and how long each stage took. */
export interface Work {
  /** Frames sent since the first that came: shown, undecodable, dropped, lost or on their way. */
  seen: number;
  shown: number;
  /** Of those shown, pictures with made up parts. */
  damaged: number;
  undecodable: number;
  /** Pushed out by newer ones before they were decoded. */
  dropped: number;
  lost: number;
  /** Came after they were given up, or twice. */
  late: number;
  malformed: number;
  waiting: number;
  keyframes: number;
  bytes: number;
  /** Of WebAssembly; null before the first picture. */
  memoryBytes: number | null;
  /** Over a data channel: those that the frames were sent in, and how many did not come. */
  messages: number;
  messagesLost: number;
  /** Between frames, milliseconds. */
  intervalMs: number | null;
  stagesMs: Record<"network" | "wait" | "decode" | "draw", Quantiles | null>;
}

/** The figures of the last second. */
export interface Figures {
  /** Pictures shown since the connection stands. */
  frames: number;
  bytes: number;
  fps?: number | null;
  kbps?: number | null;
  width?: number;
  height?: number;
  /** Of packets, 0 to 1. */
  lossShare?: number | null;
  lost?: number;
  rttMs?: number | null;
  /** Of an ordinary viewer. */
  codec?: string | null;
  decoder?: string | null;
  bufferMs?: number | null;
  /** Of the neural stream. */
  rung?: number;
  carrier?: Carrier;
  work?: Work | null;
  /** From `start` to the first picture. */
  firstMs?: number | null;
}

export type State =
  | { state: "connecting"; again: boolean }
  | { state: "connected"; peer: RTCPeerConnection }
  | { state: "lost" | "waiting"; error: Error; seconds: number }
  | { state: "refused"; error: Error & { status?: number } }
  | { state: "stopped" };

/** A decoded picture: planes of 8 bits, 4:2:0. */
export interface Picture {
  width: number;
  height: number;
  frameNumber: number;
  isComplete: boolean;
  y: Uint8Array;
  u: Uint8Array;
  v: Uint8Array;
}

export interface RoomEvents {
  state: CustomEvent<State>;
  figures: CustomEvent<Figures>;
}

export interface ViewerEvents extends RoomEvents {
  /** No picture will come, and why, in words. */
  failed: CustomEvent<{ reason: string }>;
  first: CustomEvent<{ ms: number }>;
  speed: CustomEvent<{ workMs: number; intervalMs: number; keepsUp: boolean }>;
  shown: CustomEvent<{
    width: number;
    height: number;
    rung: number;
    frameNumber: number;
    isComplete: boolean;
  }>;
}

export interface ViewerOptions {
  /** Headers of every request to the relay, such as a token's. */
  headers?: () => Record<string, string>;
}

/** What viewers of every kind have in common. */
export declare class RoomViewer<Events extends RoomEvents = RoomEvents> extends EventTarget {
  readonly isRunning: boolean;
  /** Null before the first of a connection. */
  readonly figures: Figures | null;
  start(): void;
  stop(): void;
  /** Connect anew: with another token, say. */
  restart(): void;
  addEventListener<Name extends keyof Events & string>(
    name: Name,
    listener: (event: Events[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** A browser that cannot do it. */
export declare class Unsupported extends Error {}

/** Return what this browser lacks for the neural stream, in words, or null. */
export declare function findMissing(): string | null;

/** Watches the neural stream of a room on a canvas. */
export declare class RtcodecViewer extends RoomViewer<ViewerEvents> {
  /** Throws `Unsupported`. */
  constructor(
    url: string | URL,
    canvas: HTMLCanvasElement,
    options?: ViewerOptions & {
      /** Address of the list of wasm and model; the relay's own if not given. */
      assets?: string | URL | null;
      /** What this browser can do if not given. */
      carrier?: Carrier | null;
    },
  );
  /**
   * Whether pictures aim at structure that eyes look for, not at the least error; may be set while
   * watching. Bits are the same either way.
   */
  isPerceptual: boolean;
  /** Leave for good. */
  close(): void;
  mediaStream(): MediaStream;
  grab(): Promise<Picture>;
}
