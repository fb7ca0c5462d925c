// What a viewer of studies shows of one frame: the preview, then what has come of it, then proof.
//
//   data ─▶ tiles, coarse to fine, what is looked at first ─▶ all of it ─▶ SHA-256 ─▶ proof or alarm

import { BitstreamError } from "./errors.js";
import { ExactDecoder, isProven } from "./exact.js";
import { ExactReader, KIND } from "./exact_file.js";
import { FrameProgress } from "./frame_progress.js";
import { QUALITY } from "./study_message.js";
import { readDisplay } from "./window.js";

const PAUSE_MS = 16; // between looks at what has come
const SLICE_MS = 40; // of decoding, before something else gets a turn
const SMALL_SAMPLES = 2 ** 20; // a frame that is decoded at once
const FIRST_STEPS = 4; // of a larger one, at first
const STEPS_AFTER_PREVIEW = 4; // fewer would look worse than it
const STEPS_WITHOUT_PREVIEW = 2; // while one is expected
const KEPT_MAX_BYTES = 2 ** 28; // of frames that are proven, so that a cine is decoded once

const breathe = () => new Promise((resolve) => setTimeout(resolve));
const areaOf = ({ width, height, components }) => width * height * components.length;

/** Decodes what is shown, in a worker. */
export class StudyScreen {
  #session;
  #post;
  #wasm;
  #previews;
  #view = null;
  #opened = { part: null, decoder: null };
  #kept = { part: null, sizeBytes: 0, frames: new Map() };
  #isWaking = false;
  #isWorking = false;

  /**
   * @param {object} given
   * @param {import("./study_session.js").StudySession} given.session
   * @param {(message: any, transfer?: Transferable[]) => void} given.post Reaches the page.
   * @param {Promise<WebAssembly.Module>} given.wasm Of exact pictures.
   * @param {import("./study_preview.js").PreviewDecoder} given.previews
   */
  constructor({ session, post, wasm, previews }) {
    this.#session = session;
    this.#post = post;
    this.#wasm = wasm;
    this.#previews = previews;
  }

  /** What is shown: `picture`, `frame`, `region`; null before anything is. */
  get view() {
    return this.#view;
  }

  /** Show a frame; a cine leaves out what would only hold it up. */
  show(picture, frame, { isCine = false } = {}) {
    const region = this.#view?.picture === picture ? this.#view.region : null;
    this.#view = { picture, frame, region, isCine, progress: null };
    this.wake(0);
  }

  /** Note which part of it is seen, null for all: that is decoded first. */
  look(region) {
    if (!this.#view) return;
    this.#view.region = region;
    if (this.#view.progress) this.#tell(this.#view, { kind: "steps", ...this.#steps(this.#view) });
    this.wake();
  }

  /** Show the preview that has come, if it is of what is shown: on a thin link it is all there is. */
  preview() {
    if (this.#view && !this.#view.progress) this.#showPreview(this.#view);
  }

  /** Look, soon, whether there is something to do. */
  wake(pauseMs = PAUSE_MS) {
    if (this.#isWaking) return;
    this.#isWaking = true;
    setTimeout(() => {
      this.#isWaking = false;
      this.#work().catch((error) => this.#post({ kind: "failed", reason: error.message }));
    }, pauseMs);
  }

  /** Take a frame that came otherwise, after an alarm. */
  async takeOtherwise(picture, frame, bytes) {
    const isGood = await this.#proveOtherwise(picture, frame, bytes).catch((error) => {
      if (!(error instanceof BitstreamError)) throw error;
      return false;
    });
    picture.proofs.set(frame, isGood);
    if (this.#view?.picture === picture && this.#view.frame === frame) {
      if (isGood) this.show(picture, frame, this.#view);
      else this.#tellProof(this.#view, false);
    }
  }

  async #work() {
    if (this.#isWorking) return; // it looks again before it ends
    this.#isWorking = true;
    try {
      while (await this.#step()) await breathe();
    } finally {
      this.#isWorking = false;
    }
  }

  /** Do the next thing; return whether there was one. */
  async #step() {
    const view = this.#view;
    if (!view) return false;
    if (!view.progress && this.#showPreview(view)) return true;
    const { part } = view.picture;
    if (!part?.header) return false;
    if (this.#opened.part !== part) {
      await this.#open(view, part);
      return true;
    }
    try {
      return (await this.#develop(view, part)) || this.#proveAnother(view, part);
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      this.#alarm(view.picture, view.frame);
      return true;
    }
  }

  async #open(view, part) {
    const { header } = part;
    const display = await readDisplay(header);
    const decoder = await ExactDecoder.create(await this.#wasm, header);
    if (this.#view !== view) return;
    this.#opened = { part, decoder };
    // of another version of the file nothing of what was decoded is left
    Object.assign(view, { progress: null, isJudged: false, isRested: false });
    const window = view.picture.about.preview?.window ?? null;
    const seen = window && { center: window[0], width: window[1] };
    display.window ??= seen;
    this.#tell(view, { kind: "header", header: { ...header, notes: null }, display });
  }

  /** Decode, or prove, more of what is shown. */
  async #develop(view, part) {
    const { picture, frame } = view;
    if (view.isJudged) return this.#rest(view);
    const proven = picture.otherwise.get(frame) ?? this.#keptOf(part).frames.get(frame);
    if (proven || picture.proofs.get(frame) === false) {
      view.isJudged = true;
      if (proven) {
        const samples = proven.slice();
        this.#tell(view, { kind: "frame", steps: part.header.steps, samples }, [samples.buffer]);
      }
      this.#tellProof(view, Boolean(proven));
      return true;
    }
    if (!view.progress) return this.#begin(view, part);
    if (this.#refine(view)) return true;
    if (view.progress.steps() < part.header.steps) return this.#rest(view);
    const { samples } = view.progress;
    const isGood = await isProven(part.header, part.open(frame), samples);
    if (picture.part !== part) return true;
    view.isJudged = true;
    picture.proofs.set(frame, isGood);
    if (isGood) this.#keep(part, frame, samples);
    if (!isGood) this.#alarm(picture, frame);
    else if (this.#view === view) this.#tellProof(view, true);
    return true;
  }

  /** What is kept of the picture that is shown. */
  #keptOf(part) {
    if (this.#kept.part !== part) this.#kept = { part, sizeBytes: 0, frames: new Map() };
    return this.#kept;
  }

  #keep(part, frame, samples) {
    const kept = this.#keptOf(part);
    if (part.frames === 1 || kept.sizeBytes + samples.byteLength > KEPT_MAX_BYTES) return;
    kept.sizeBytes += samples.byteLength;
    kept.frames.set(frame, samples);
  }

  /** Show a frame for the first time: all of it at once, never beside parts of another. */
  #begin(view, part) {
    const { frame, region, isCine } = view;
    const enough = this.#enough(view);
    if (!part.steps(frame) || part.steps(frame, region) < enough) return false;
    const isWhole = isCine || areaOf(part.header) <= SMALL_SAMPLES;
    view.progress = new FrameProgress(this.#opened.decoder, part, frame);
    const tiles = [...view.progress.advance(region, isWhole ? part.header.steps : FIRST_STEPS)];
    this.#tellTiles(view, tiles, true);
    return true;
  }

  #enough({ picture, frame, isPreviewShown }) {
    if (isPreviewShown) return STEPS_AFTER_PREVIEW;
    return this.#previews.mayShow(picture, frame) ? STEPS_WITHOUT_PREVIEW : 1;
  }

  #refine(view) {
    const untilMs = performance.now() + SLICE_MS;
    const tiles = [];
    for (const tile of view.progress.advance(view.region)) {
      tiles.push(tile);
      if (!view.isCine && performance.now() > untilMs) break;
    }
    if (tiles.length) this.#tellTiles(view, tiles, false);
    return tiles.length > 0;
  }

  /** Say once that nothing more is to be done for what is shown, until more comes. */
  #rest(view) {
    if (view.isRested) return false;
    view.isRested = true;
    this.#tell(view, { kind: "rest" });
    return true;
  }

  /** Prove a frame that is whole and not shown, one at a time. */
  async #proveAnother({ picture, isCine }, part) {
    if (isCine) return false;
    for (let frame = 0; frame < part.frames; frame++) {
      if (picture.proofs.has(frame) || !part.isWhole(frame)) continue;
      const coded = part.open(frame);
      let proven = false;
      let samples = null;
      try {
        samples = this.#opened.decoder.decodeFrame(coded);
        proven = await isProven(part.header, coded, samples);
      } catch (error) {
        if (!(error instanceof BitstreamError)) throw error;
      }
      if (picture.part !== part) return true;
      picture.proofs.set(frame, proven);
      if (proven) this.#keep(part, frame, samples);
      if (!proven) this.#alarm(picture, frame);
      else this.#post({ kind: "proven", id: picture.id });
      return true;
    }
    return false;
  }

  async #proveOtherwise(picture, frame, bytes) {
    const promised = picture.part?.open(frame);
    if (!promised) return false;
    const reader = new ExactReader(bytes);
    const { header } = picture.part;
    for (const name of ["width", "height", "bits", "signed"]) {
      if (reader.header[name] !== header[name]) return false;
    }
    const [coded] = reader;
    if (coded.kind === KIND.tiles) return false;
    const decoder = await ExactDecoder.create(await this.#wasm, reader.header);
    const samples = decoder.decodeFrame(coded);
    if (!(await isProven(reader.header, promised, samples))) return false;
    picture.otherwise.set(frame, samples);
    return true;
  }

  /** A frame is not what was promised: ask for it otherwise. */
  #alarm(picture, frame) {
    picture.proofs.set(frame, false);
    this.#session.askOtherwise(picture, frame);
    const view = this.#view;
    if (view.picture !== picture || view.frame !== frame) return;
    view.isJudged = true;
    this.#tellProof(view, false, true);
  }

  #showPreview(view) {
    if (view.isPreviewShown) return false;
    const picture = this.#previews.decode(view.picture, view.frame);
    if (!picture) return false;
    view.isPreviewShown = true;
    this.#tell(view, { kind: "preview", ...picture }, [picture.rgba.buffer]);
    this.#session.tell(view.picture, view.frame, QUALITY.preview);
    return true;
  }

  // ---- telling the page, and the audit

  #steps({ progress, region }) {
    return { all: progress.steps(), here: progress.steps(region) };
  }

  #tellTiles(view, tiles, isFirst) {
    const transfer = tiles.map(({ samples }) => samples.buffer);
    this.#tell(view, { kind: "tiles", tiles, isFirst, ...this.#steps(view) }, transfer);
    this.#session.tell(view.picture, view.frame, QUALITY.coarse);
  }

  #tellProof(view, proven, isAsked = false) {
    this.#tell(view, { kind: "proof", isProven: proven, isAsked });
    if (isAsked) return;
    const quality = proven ? QUALITY.verified : QUALITY.notVerified;
    this.#session.tell(view.picture, view.frame, quality);
  }

  #tell({ picture, frame }, message, transfer = []) {
    this.#post({ ...message, id: picture.id, number: frame }, transfer);
  }
}
