// The watch page: the neural stream decoded here, the relay's video, or both, and words for it.

import { OrdinaryViewer } from "./ordinary.js";
import { $, Token, make, number, room, say } from "./page.js";
import { RtcodecViewer, findMissing } from "./viewer.js";
import { showNumbers, showRates, showStages } from "./watch_figures.js";
import { explainRelay } from "./words.js";

const EVERY_MS = 1000;
const LATE_S = 4; // with a fifth of the frames pushed out by newer ones: too slow after all
const WAITING_S = 3; // without a new picture for so long, the page says so
const UNUSABLE = new Set([400, 404, 415, 422]); // answers of relays that cannot send it so

const WHAT = {
  neural: [
    "The neural stream itself: the relay's latents, decoded on this machine by WebAssembly.",
    "What is lost on the way is mended without a key frame: the tab tells the relay what it holds.",
  ],
  ordinary: [
    "Ordinary video, not latents: the relay decodes its neural stream and makes",
    "So the picture has been coded twice after the publisher, and the kb/s on it are those of the " +
      "second coding.",
  ],
  both: [
    "Left of the line the neural stream, decoded here; right of it VP8, to which the relay gives " +
      "the same kb/s. Both figures are means of five seconds.",
    "VP8 is made of what came to the relay, by an encoder for comparing alone. It waits in the " +
      "browser's buffer, so it is a little behind.",
  ],
};
const FIGURES =
  "PSNR is that of the neural stream against what the publisher sent. Latency in the relay is from " +
  "arrival until sent (p50 / p95).";
const NO_FIGURES = "PSNR and latency are shown to tokens that may also administer the room.";

const token = new Token();
const options = { headers: () => token.headers };
const ordinary = new OrdinaryViewer(`/whep/${room}`, $("video"), options);
const wishes = new URLSearchParams(location.search);
const carrier = wishes.get("carrier") === "data" ? "data" : null; // what other browsers get
const neural = findMissing()
  ? null
  : new RtcodecViewer(`/whep/${room}`, $("canvas"), { ...options, carrier });
const matched = new OrdinaryViewer(`/whep/${room}`, $("video"), {
  ...options,
  matchedRung: () => comparedRung,
});
let comparedRung = 0;
const seen = { frames: 0, stillS: 0 };
const late = { sent: 0, dropped: 0, seconds: 0 };
let view = "ordinary";
let wasAsked = false; // somebody chose the view, so it is not changed for being slow
let news = { state: "stopped" };
let relay = null;
let figuresRefused = ""; // the token with which the relay kept its figures to itself

const all = [neural, ordinary, matched].filter(Boolean);
const leader = () => (view === "ordinary" ? ordinary : neural);
const viewers = () => (view === "both" ? [neural, matched] : [leader()]);

document.title = `Watch ${room} - rtcodec`;
say($("room"), room);
$("to-publish").href = `/publish/${room}`;

// ---- saying what goes on

function showState(text, kind = "") {
  say($("state"), text);
  $("state").className = `pill ${kind}`;
}

/** Cover the picture with words; nothing uncovers it. */
function cover(title, text = "", isBusy = true) {
  const over = $("over");
  over.hidden = !title;
  over.classList.toggle("dim", seen.frames > 0);
  const shown = `${title}\n${text}`;
  if (over.dataset.shown === shown) return;
  over.dataset.shown = shown;
  over.replaceChildren(
    ...(title
      ? [
          isBusy ? make("i", { class: "spinner" }) : "",
          make("b", {}, title),
          make("span", {}, text),
        ]
      : []),
  );
}

function showMessage(problem) {
  const box = $("message");
  box.hidden = !problem;
  $("token-form").hidden = !problem?.needsToken;
  if (!problem) return;
  box.className = "message bad";
  box.replaceChildren(make("b", {}, problem.title), problem.text);
}

function tell(latest) {
  news = latest;
  $("toggle").textContent = leader().isRunning ? "Stop" : "Watch";
  const explained =
    news.error && explainRelay(news.error, { token: token.value, doing: "watching" });
  if (news.state !== "connected") $("numbers").hidden = $("stages-card").hidden = true;
  switch (news.state) {
    case "connecting":
      showState("connecting", "warn");
      if (!news.again) showMessage(null);
      cover(
        news.again ? "Coming back" : "Connecting",
        news.again ? "" : "Asking the relay for the room.",
      );
      break;
    case "connected":
      Object.assign(seen, { frames: 0, stillS: 0 });
      Object.assign(late, { sent: 0, dropped: 0, seconds: 0 });
      showMessage(null);
      showState("connected", "good");
      cover("Waiting for the first picture", "The relay lets this tab in.");
      break;
    case "lost":
    case "waiting":
      showState("reconnecting", "warn");
      cover(explained.title, `${explained.text} Trying again in ${news.seconds} s.`.trim());
      break;
    case "refused":
      showState("refused", "bad");
      showMessage(explained);
      cover("Not watching", explained.title, false);
      if (explained.needsToken) $("token").focus();
      break;
    case "stopped":
      showState("stopped");
      cover("Stopped", "Press Watch to come back.", false);
  }
}

function showStillness() {
  if (seen.stillS < WAITING_S && seen.frames > 0) {
    cover("");
    showState("live", "good");
    return;
  }
  if (seen.frames === 0 && seen.stillS < WAITING_S) return;
  showState("waiting", "warn");
  if (relay?.publisher && seen.frames === 0)
    cover("Waiting for the first picture", "Somebody publishes; it is on its way.");
  else if (seen.frames === 0)
    cover("Nobody publishes here yet", "The picture starts by itself when somebody does.");
  else
    cover(
      "The picture stands still",
      "The publisher has stopped, or its network is away. It goes on by itself.",
    );
}

// ---- views

/** Show a view: connect what it needs, leave what it does not. */
function choose(wanted, why = "") {
  const before = leader();
  view = wanted;
  $("picture").dataset.view = view;
  $("wipe").hidden = view !== "both";
  $("views").querySelector(`[value=${view}]`).checked = true;
  $("heads").hidden = view === "ordinary";
  say($("why"), why);
  showWhat();
  for (const viewer of all) {
    if (!viewers().includes(viewer)) viewer.stop(); // before another takes its place
  }
  for (const viewer of viewers()) viewer.start();
  if (leader() === before) return;
  Object.assign(seen, { frames: 0, stillS: 0 });
  $("stages-card").hidden = true;
}

function showWhat(codec = "VP8 or H.264") {
  const [what, more] = WHAT[view];
  say($("what"), view === "ordinary" ? `${what} ${codec} of it for this tab.` : what);
  say($("what-more"), more);
}

/** Show the relay's video instead, for good or until somebody wants the neural stream again. */
function fallBack(reason, isForGood) {
  if (isForGood) {
    for (const input of $("views").querySelectorAll("input")) {
      input.disabled = input.value !== "ordinary";
    }
  }
  choose("ordinary", `The neural stream is not decoded in this tab: ${reason}.`);
}

function judgeSpeed({ workMs, intervalMs, keepsUp }) {
  if (keepsUp || view === "ordinary") return;
  beLate(
    `this machine decodes ${number(1000 / workMs)} of ${number(1000 / intervalMs)} pictures a second`,
  );
}

function beLate(can) {
  if (wasAsked) say($("why"), `It is late: ${can}.`);
  else fallBack(can, false);
}

/** Fall back where a machine kept up at first and then, say, grew too hot to. */
function judgeLateness({ seen: sent, dropped }) {
  const isLate = dropped - late.dropped > (sent - late.sent) / 5;
  Object.assign(late, { sent, dropped, seconds: isLate ? late.seconds + 1 : 0 });
  if (late.seconds >= LATE_S) beLate("this machine does not keep up with it");
}

// ---- figures

/** Ask what the relay says of the room; null where it does not tell us. */
async function askRelay() {
  if (figuresRefused !== "" && figuresRefused === `token ${token.value}`) return null;
  const response = await fetch("/api/rooms", { headers: token.headers, cache: "no-store" }).catch(
    () => null,
  );
  const isRefused = response?.status === 401 || response?.status === 403;
  figuresRefused = isRefused ? `token ${token.value}` : "";
  say($("relay-note"), isRefused ? NO_FIGURES : FIGURES);
  if (!response?.ok) return null;
  return (await response.json()).rooms.find((entry) => entry.room === room) ?? null;
}

function heed(figures) {
  seen.stillS = figures.frames > seen.frames ? 0 : seen.stillS + 1;
  seen.frames = figures.frames;
  if (figures.frames > 0) {
    $("numbers").hidden = $("show-numbers").getAttribute("aria-pressed") !== "true";
    showNumbers(view, leader().figures, relay);
    if (view === "both") compare(figures.rung ?? 0);
    if (view !== "ordinary") {
      showStages(figures, relay);
      judgeLateness(figures.work);
    } else if (figures.codec) showWhat(figures.codec);
  }
  showStillness();
}

/** Show what both halves cost; let VP8 follow the rung that this tab gets. */
function compare(rung) {
  if (rung !== comparedRung) {
    comparedRung = rung;
    matched.restart();
  }
  showRates(neural.figures, matched.figures);
}

async function keepAsking() {
  for (;;) {
    if (news.state === "connected" && !document.hidden) relay = await askRelay().catch(() => null);
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

for (const viewer of all) {
  viewer.addEventListener("state", (/** @type {any} */ { detail }) => {
    const isUnusable = viewer === neural && UNUSABLE.has(detail.error?.status);
    if (isUnusable && view !== "ordinary") fallBack(detail.error.message, true);
    else if (viewer === leader()) tell(detail);
    else if (view === "both")
      say(
        $("why"),
        detail.error ? `There is no VP8 to compare with: ${detail.error.message}.` : "",
      );
  });
  viewer.addEventListener(
    "figures",
    (/** @type {any} */ { detail }) => viewer === leader() && heed(detail),
  );
}
neural?.addEventListener("failed", ({ detail }) => fallBack(detail.reason, true));
neural?.addEventListener("speed", ({ detail }) => judgeSpeed(detail));
neural?.addEventListener("first", () => {
  if (view === "ordinary") return;
  cover("");
  showState("live", "good");
});

// ---- buttons

$("toggle").addEventListener("click", () => {
  const isRunning = leader().isRunning;
  for (const viewer of viewers()) {
    if (isRunning) viewer.stop();
    else viewer.start();
  }
});

$("views").addEventListener("change", ({ target }) => {
  wasAsked = true;
  choose(target.value);
});

$("heads").addEventListener("change", ({ target }) => {
  neural.isPerceptual = target.value === "perceptual";
});

$("split").addEventListener("input", ({ target }) => {
  $("picture").style.setProperty("--split", `${target.value}%`);
});

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.value = $("token").value;
  $("token").value = "";
  for (const viewer of viewers()) viewer.restart();
});

$("show-numbers").addEventListener("click", ({ currentTarget }) => {
  const isOn = currentTarget.getAttribute("aria-pressed") !== "true";
  currentTarget.setAttribute("aria-pressed", String(isOn));
  $("numbers").hidden = !isOn || news.state !== "connected";
});

$("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("picture").requestFullscreen();
});
$("full").hidden = !document.fullscreenEnabled;

if (neural) choose("neural");
else fallBack(findMissing(), true);
keepAsking();
