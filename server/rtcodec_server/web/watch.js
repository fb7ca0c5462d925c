// The watch page: WHEP, the picture, figures on it, and words for what goes on.

import { Rates, readInbound } from "./figures.js";
import { Keeper } from "./keeper.js";
import { $, Token, make, number, room, say, size } from "./page.js";
import { openSession } from "./session.js";
import { explainRelay } from "./words.js";

const EVERY_MS = 1000;
const NOTHING_YET = { frames: 0, bytes: 0 };
const WAITING_S = 3; // without a new picture for so long, the page says so

const WHAT = "Ordinary video, not latents: the relay decodes its neural stream and makes";
const FIGURES =
  "PSNR is that of the neural stream against what the publisher sent. Latency is from arrival in " +
  "the relay until sent (p50 / p95), without the second coding.";
const NO_FIGURES = "PSNR and latency are shown to tokens that may also administer the room.";

const token = new Token();
const video = $("video");
let peer = null;
let rates = new Rates();
let seen = { frames: 0, bytes: 0, stillS: 0 };
let figuresRefused = ""; // the token with which the relay kept its figures to itself

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

function tell(news) {
  $("toggle").textContent = keeper.isRunning ? "Stop" : "Watch";
  const explained =
    news.error && explainRelay(news.error, { token: token.value, doing: "watching" });
  if (news.state !== "connected") {
    peer = null;
    $("numbers").hidden = true;
  }
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
      peer = news.peer;
      rates = new Rates();
      seen = { frames: 0, bytes: 0, stillS: 0 };
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

// ---- the connection

const keeper = new Keeper({
  tell,
  connect: (connection, signal) => {
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.addEventListener("track", ({ track }) => {
      video.srcObject = new MediaStream([track]);
    });
    return openSession(`/whep/${room}`, connection, token.headers, signal);
  },
});

// ---- figures

function showNumbers(now, relay) {
  const [p50, p95] = [relay?.recent.latency_ms.total.p50, relay?.recent.latency_ms.total.p95];
  const rung = relay?.rungs[0];
  const lines = [
    ["picture", size(now.width, now.height)],
    ["fps", number(now.fps, 1)],
    ["kb/s", number(now.kbps)],
    ["codec", [now.codec, now.decoder].filter(Boolean).join(", ")],
    ["loss", `${number(100 * (now.lossShare ?? 0), 1)} %`],
    ["round trip", `${number(now.rttMs)} ms`],
    ["buffered here", `${number(now.bufferMs)} ms`],
  ];
  if (relay) {
    lines.push(["neural stream", `${number(relay.kbps)} kb/s`]);
    if (rung) lines.push(["rung", `${rung.rung}, ${size(rung.width, rung.height)}`]);
    lines.push(["its PSNR", `${number(relay.recent.psnr_db, 1)} dB`]);
    lines.push(["in the relay", `${number(p50, 1)} / ${number(p95, 1)} ms`]);
  }
  $("numbers").hidden = $("show-numbers").getAttribute("aria-pressed") !== "true";
  $("numbers").replaceChildren(
    ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value || "–")]),
  );
  if (now.codec) {
    say($("what"), `${WHAT} ${now.codec} of it for this tab.`);
  }
}

/** Return what the relay says of the room, or null where it does not tell us. */
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

function showStillness(relay) {
  if (seen.stillS < WAITING_S && seen.frames > 0) {
    cover("");
    showState("live", "good");
    return;
  }
  if (seen.frames === 0 && seen.stillS < WAITING_S) return;
  showState("waiting", "warn");
  if (relay?.publisher && seen.frames === 0)
    cover("Waiting for the first picture", "Somebody publishes; the relay is making video of it.");
  else if (seen.frames === 0)
    cover("Nobody publishes here yet", "The picture starts by itself when somebody does.");
  else
    cover(
      "The picture stands still",
      "The publisher has stopped, or its network is away. It goes on by itself.",
    );
}

async function beat() {
  if (!peer) return;
  const [report, relay] = await Promise.all([peer.getStats(), askRelay()]);
  if (!peer) return;
  const now = readInbound(report, rates) ?? NOTHING_YET;
  seen.stillS = now.frames > seen.frames ? 0 : seen.stillS + 1;
  keeper.beat(now.bytes > seen.bytes);
  seen.frames = now.frames;
  seen.bytes = now.bytes;
  if (now.frames > 0) showNumbers(now, relay);
  showStillness(relay);
}

async function keepBeating() {
  for (;;) {
    await beat().catch(() => {}); // the connection was closed meanwhile
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

// ---- buttons

$("toggle").addEventListener("click", () => {
  if (keeper.isRunning) keeper.stop();
  else keeper.start();
});

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.value = $("token").value;
  $("token").value = "";
  keeper.start();
});

$("show-numbers").addEventListener("click", ({ currentTarget }) => {
  const isOn = currentTarget.getAttribute("aria-pressed") !== "true";
  currentTarget.setAttribute("aria-pressed", String(isOn));
  $("numbers").hidden = !isOn || !peer;
});

$("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("picture").requestFullscreen();
});
$("full").hidden = !document.fullscreenEnabled;

keeper.start();
keepBeating();
