// The studies of a room of the relay: a list, and what may be said of the picture that is shown.

import { $, Token, make, number, room, say, size } from "./page.js";
import { STEPS, stage } from "./stage.js";
import { StudyViewer } from "./study_viewer.js";
import { explainRelay } from "./words.js";

const STATES = { waiting: "", preparing: "being prepared", ready: "", failed: "failed" };

/** @type {?Token} */
let token = null;
/** @type {?StudyViewer} */
let viewer = null;
/** As the worker describes them, by id; in the order of the list. */
let pictures = new Map();
let rows = new Map(); // button and its parts, by id
let openId = null;
/** What is said of the frame that is shown. */
let frame = { isPreview: false, here: 0, all: 0, proof: /** @type {any} */ (null) };
/** Of its picture, what it says of steps; before it has come, what most say. */
const NO_HEADER = { steps: STEPS, bound: 0 };
let header = NO_HEADER;

// ---- saying what is shown

/** What may be said of it, and nothing better than that. */
function describeQuality() {
  const picture = pictures.get(openId);
  if (!picture) return ["no picture", ""];
  if (picture.problem) return ["cannot be shown", "bad"];
  const { isPreview, here, all, proof } = frame;
  if (proof?.isProven) {
    const { max_error: most } = picture.about;
    return [most ? `within ±${most}, verified` : "lossless, verified", "good"];
  }
  if (proof) return [`damaged${proof.isAsked ? ": asked for once more" : ", not verified"}`, "bad"];
  if (isPreview) return ["preview, not for diagnosis", "warn"];
  const { steps, bound } = header;
  if (all === steps) return ["all levels, not verified yet", "warn"];
  if (here === steps) return ["exact here, not verified", "warn"];
  if (all >= STEPS) return [`every sample within ±${bound}, not verified`, "warn"];
  if (here >= STEPS) return [`within ±${bound} here, not verified`, "warn"];
  if (here) return [`level ${here} of ${steps}`, "warn"];
  return [STATES[picture.about.state] || "on its way", ""];
}

function tell() {
  const [text, kind] = describeQuality();
  stage.describe(text, kind);
}

function startFrame() {
  frame = { isPreview: false, here: 0, all: 0, proof: null };
}

// ---- the list

function describePicture({ about, problem, isVerified, heldBytes, sizeBytes, proven }) {
  if (problem) return [problem, "bad"];
  if (isVerified) return [about.max_error ? `within ±${about.max_error}` : "verified", "good"];
  if (heldBytes && heldBytes < sizeBytes) return [`${number((100 * heldBytes) / sizeBytes)} %`, ""];
  if (proven) return [`${proven} of ${about.frames} verified`, ""];
  return [heldBytes ? "all here" : STATES[about.state], ""];
}

function fillRow(picture) {
  const { button, about, status } = rows.get(picture.id);
  const { width, height, bits, frames } = picture.about;
  const parts = [size(width, height), `${bits} bits`, frames > 1 ? `${frames} frames` : ""];
  say(about, width ? parts.filter(Boolean).join(", ") : "");
  const [text, kind] = describePicture(picture);
  say(status, text);
  status.dataset.kind = kind;
  button.setAttribute("aria-pressed", String(picture.id === openId));
}

function makeRow({ id, about: { number: index } }) {
  const about = make("small");
  const status = make("small");
  const name = make("span", {}, `Picture ${index + 1}`);
  const button = make("button", { onclick: () => open(id) }, name, status, about);
  rows.set(id, { button, about, status });
  return make("li", {}, button);
}

function fillList(all) {
  pictures = new Map(all.map((picture) => [picture.id, picture]));
  rows = new Map();
  const studies = [...new Set(all.map(({ about }) => about.study))];
  const items = studies.flatMap((study, k) => {
    const own = all.filter(({ about }) => about.study === study).map(makeRow);
    const title = studies.length > 1 ? [make("li", {}, make("h3", {}, `Study ${k + 1}`))] : [];
    return [...title, ...own];
  });
  $("pictures").replaceChildren(...items);
  all.forEach(fillRow);
  if (!pictures.has(openId) && all.length) open(all[0].id);
  tell();
}

function open(id) {
  const picture = pictures.get(id);
  if (!picture || id === openId) return;
  const before = pictures.get(openId);
  openId = id;
  if (before) fillRow(before);
  fillRow(picture);
  startFrame();
  header = NO_HEADER;
  stage.clear();
  viewer.open(id);
  tell();
}

function openNext(by) {
  const ids = [...pictures.keys()];
  const next = ids[ids.indexOf(openId) + by];
  if (!next) return;
  open(next);
  rows.get(next).button.scrollIntoView({ block: "nearest" });
}

// ---- what comes of the picture that is open

const HEARD = {
  header({ header: own, display }) {
    header = own;
    stage.open(header, display);
  },
  preview({ number: index, width, height, rgba }) {
    const { about } = pictures.get(openId);
    stage.open({ ...about, channels: about.components }, null);
    stage.showPreview(index, width, height, rgba);
    startFrame();
    frame.isPreview = true;
  },
  tiles({ number: index, tiles, isFirst, here, all }) {
    if (isFirst) startFrame();
    Object.assign(frame, { here, all });
    stage.showTiles(index, tiles, { isFirst, all });
  },
  steps({ here, all }) {
    Object.assign(frame, { here, all });
  },
  frame({ number: index, samples, steps }) {
    startFrame();
    Object.assign(frame, { here: steps, all: steps });
    stage.showFrame(index, samples, steps);
  },
  proof(proof) {
    frame.proof = proof;
  },
  rest(_) {
    stage.rest();
  },
};

function hearPicture({ picture }) {
  if (!rows.has(picture.id)) return;
  pictures.set(picture.id, picture);
  fillRow(picture);
  if (picture.id === openId && picture.problem)
    stage.fail("The picture cannot be had", picture.problem);
  tell();
}

// ---- the connection

function tellState(news) {
  const pills = {
    connecting: ["connecting", "warn"],
    connected: ["connected", "good"],
    refused: ["refused", "bad"],
    stopped: ["stopped", ""],
  };
  const [text, kind] = pills[news.state] ?? ["reconnecting", "warn"];
  say($("state"), text);
  $("state").className = `pill ${kind}`;
  if (news.state === "connected") $("message").hidden = true;
  if (!news.error) return;
  const {
    title,
    text: why,
    needsToken,
  } = explainRelay(news.error, {
    token: token.value,
    doing: "seeing studies",
  });
  $("token-form").hidden = !needsToken;
  if (needsToken) $("token").focus();
  if (news.state === "refused") stage.fail(title, why);
  else if (!openId) stage.fail(title, `${why} Trying again in ${news.seconds} s.`);
}

/** Connect, and show the first picture. */
export function beginWithRoom() {
  token = new Token();
  viewer = new StudyViewer(`/study/${room}`, { headers: () => token.headers });
  document.title = `Studies of ${room} - rtcodec`;
  say($("room"), room);
  for (const part of [$("room-card"), $("state"), ...document.querySelectorAll(".of-room")]) {
    /** @type {HTMLElement} */ (part).hidden = false;
  }
  const on = (name, hear) =>
    viewer.addEventListener(name, (/** @type {any} */ { detail }) => hear(detail));
  for (const [name, hear] of Object.entries(HEARD)) {
    on(name, (detail) => {
      if (detail.id !== openId) return; // of one that was left
      hear(detail);
      tell();
    });
  }
  on("state", tellState);
  on("figures", ({ kbps, rttMs }) => {
    const rate = kbps ? `${number(kbps)} kb/s` : "";
    say($("rate"), [rate, rttMs ? `${number(rttMs)} ms` : ""].filter(Boolean).join(", "));
  });
  on("pictures", (detail) => fillList(detail.pictures));
  on("picture", hearPicture);
  on("refused", ({ detail }) => stage.fail("The relay refused", detail));
  on("failed", ({ reason }) => stage.fail("This cannot go on", reason));
  stage.addEventListener("order", (/** @type {any} */ { detail }) => {
    viewer.show(detail.number, detail);
  });
  stage.addEventListener("look", (/** @type {any} */ { detail }) => viewer.look(detail.region));
  $("area").addEventListener("keydown", (event) => {
    const by = { PageUp: -1, PageDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    openNext(by);
  });
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token.value = $("token").value;
    $("token").value = "";
    $("token-form").hidden = true;
    viewer.restart();
  });
  viewer.start();
  tell();
}
