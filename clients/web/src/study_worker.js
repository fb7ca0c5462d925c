// The worker of a viewer of studies: which parts of which pictures are asked for, in what order.
//
//   page: start, channel, message, open, show, look    here: send, pictures, picture, again, failed
//   and what `StudyScreen` tells

import { PreviewDecoder } from "./study_preview.js";
import { StudyScreen } from "./study_screen.js";
import { StudySession } from "./study_session.js";

const HELD_MAX_BYTES = 2 ** 30; // beyond it what was opened longest ago is dropped
const AHEAD = 2; // pictures after the one that is open
const AHEAD_PRIORITY = 2;
const TELL_MS = 200;

let session = null;
let screen = null;
let previews = null;
let wanted = null; // {id, frame}: what the page opened last
let isPrepared = null; // resolves when it is known whether previews can be decoded
const asked = { whole: null, frame: null, region: null }; // numbers of requests
const opened = []; // pictures, the one that was opened last at the end
const lost = new Set(); // dropped since the connection began: it would not send them again
const fetching = new Set(); // pictures asked for on this connection
const changed = new Set();
let telling = null;

function post(message, transfer = []) {
  postMessage(message, { transfer });
}

async function load(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error("the relay has no decoder for exact pictures");
  return WebAssembly.compile(await response.arrayBuffer());
}

function start({ exact, previewAssets }) {
  const wasm = load(exact);
  wasm.catch(fail);
  session = new StudySession({ send: (data) => post({ kind: "send", data }, [data.buffer]), hear });
  previews = new PreviewDecoder(previewAssets, () => screen.wake());
  isPrepared = previews.known;
  screen = new StudyScreen({ session, post: postShown, wasm, previews });
}

/** Post what is shown; a proof changes the list, too. */
function postShown(message, transfer) {
  post(message, transfer);
  if (message.kind !== "proof" && message.kind !== "proven") return;
  const picture = session.pictures.find(({ id }) => id === message.id);
  if (picture) note(picture);
}

function fail(error) {
  post({ kind: "failed", reason: error.message });
}

function beginConnection() {
  session.begin();
  Object.assign(asked, { whole: null, frame: null, region: null });
  lost.clear();
  fetching.clear();
}

function hear(event) {
  switch (event.kind) {
    case "listed":
      post({ kind: "pictures", pictures: session.pictures.map(describe) });
      if (wanted) open(wanted);
      break;
    case "otherwise":
      screen.takeOtherwise(event.picture, event.frame, event.bytes).catch(fail);
      break;
    case "done":
      if (event.request === asked.whole) fetchAhead();
      break;
    case "refused":
      if (!["failed", "changed"].includes(event.fields.code)) {
        post({ kind: "refused", ...event.fields });
      }
      break;
    default: // described, preview, data
      note(event.picture);
      if (screen.view?.picture !== event.picture) break;
      if (event.kind === "preview") screen.preview();
      screen.wake();
  }
}

/** Tell the page, soon, what has changed of a picture. */
function note(picture) {
  if (!session.isListed) return;
  changed.add(picture);
  telling ??= setTimeout(() => {
    telling = null;
    for (const one of changed) post({ kind: "picture", picture: describe(one) });
    changed.clear();
  }, TELL_MS);
}

function describe({ id, about, part, problem, proofs, isVerified }) {
  return {
    ...{ id, about, problem, isVerified },
    heldBytes: part?.held.sizeBytes ?? 0,
    repeatedBytes: part?.repeatedBytes ?? 0,
    sizeBytes: part?.sizeBytes ?? about.bytes ?? null,
    proven: [...proofs.values()].filter(Boolean).length,
  };
}

// ---- what is asked for

async function open({ id, frame }) {
  wanted = { id, frame };
  await isPrepared;
  const picture = session.pictures.find((one) => one.id === id);
  if (wanted.id !== id || !session.isListed) return; // it is opened once they are listed
  if (!picture) {
    post({ kind: "failed", reason: "the relay does not offer this picture any more" });
    return;
  }
  if (lost.has(picture)) {
    post({ kind: "again" });
    return;
  }
  if (opened.includes(picture)) opened.splice(opened.indexOf(picture), 1);
  opened.push(picture);
  dropOldest();
  ask("region", null);
  if (screen.view?.picture !== picture || screen.view.frame !== frame) screen.show(picture, frame);
  fetching.add(picture);
  const preview = !picture.preview && previews.mayShow(picture, picture.about.preview?.frame);
  asked.whole = session.request(picture, { preview });
  if (picture.about.frames > 1) askFrame(picture, frame);
  askRegion();
  screen.wake();
}

/** Replace a request by another, or by none. */
function ask(name, wish) {
  const before = asked[name];
  asked[name] = wish && session.request(screen.view.picture, wish);
  if (before !== null) session.cancel(before); // last: meanwhile the relay would send other things
}

function askFrame(picture, frame) {
  const isThere = picture.part?.isWhole(frame);
  ask("frame", isThere ? null : { priority: 0, firstFrame: frame, frames: 1 });
}

/** What is looked at jumps the queue. */
function askRegion() {
  const { picture, frame, region } = screen.view;
  const header = picture.part?.header;
  const isMissing =
    region && !(header && picture.part.steps(frame, region) === header.steps);
  const isRead = picture.about.width !== undefined;
  const wish = { priority: 0, firstFrame: frame, frames: 1, region };
  ask("region", isMissing && isRead ? wish : null);
}

function fetchAhead() {
  const number = screen.view?.picture.number ?? -1;
  const next = session.pictures.slice(number + 1, number + 1 + AHEAD);
  for (const picture of next) {
    const isHeld = fetching.has(picture) || lost.has(picture) || picture.problem;
    if (isHeld || heldBytes() > HELD_MAX_BYTES / 2) continue;
    fetching.add(picture);
    session.request(picture, { priority: AHEAD_PRIORITY });
  }
}

const heldBytes = () => session.pictures.reduce((sum, { part }) => sum + (part?.sizeBytes ?? 0), 0);

function dropOldest() {
  while (heldBytes() > HELD_MAX_BYTES && opened.length > 1) {
    const picture = opened.shift();
    picture.drop();
    lost.add(picture);
    note(picture);
  }
}

function show({ number, isCine }) {
  const { view } = screen;
  if (!view) return;
  wanted.frame = number;
  screen.show(view.picture, number, { isCine });
  if (isCine || !session.isListed) return;
  askFrame(view.picture, number);
  askRegion();
}

function look({ region }) {
  if (!screen.view) return;
  screen.look(region);
  if (session.isListed) askRegion();
}

const ACTS = {
  start,
  channel: beginConnection,
  message: ({ data }) => session.receive(new Uint8Array(data)),
  open: (message) => open(message).catch(fail),
  show,
  look,
};

addEventListener("message", ({ data }) => {
  try {
    ACTS[data.kind](data);
  } catch (error) {
    post({ kind: "broken", reason: error.message });
  }
});
