// The publish page: a source, WHIP, figures of what is sent.

import { Rates, readOutbound } from "./figures.js";
import { Keeper } from "./keeper.js";
import { $, Token, make, number, room, say, size } from "./page.js";
import { openSession } from "./session.js";
import { cameras, openSource } from "./source.js";
import { fillTiles } from "./table.js";
import { explainRelay, explainSource } from "./words.js";

const EVERY_MS = 1000;
const LIMITED = {
  bandwidth: "The way to the relay is narrow: the browser sends less than it could.",
  cpu: "This machine is too slow for that size: the browser sends less than it could.",
};

const token = new Token();
const form = $("form");
const preview = $("preview");
let source = null;
let peer = null;
let rates = new Rates();
let sentBytes = 0;

document.title = `Publish to ${room} - rtcodec`;
say($("room"), room);
$("to-watch").href = `/watch/${room}`;
$("token").value = token.value;

const kind = () => form.elements.source.value;

// ---- saying what goes on

function showState(text, shade = "") {
  say($("state"), text);
  $("state").className = `pill ${shade}`;
}

function showMessage(problem, shade = "bad") {
  $("message").hidden = !problem;
  if (!problem) return;
  $("message").className = `message ${shade}`;
  $("message").replaceChildren(make("b", {}, problem.title), problem.text);
}

function tell(news) {
  const isOn = keeper.isRunning;
  say($("toggle"), isOn ? "Stop" : "Publish");
  $("toggle").classList.toggle("main", !isOn);
  const explained =
    news.error && explainRelay(news.error, { token: token.value, doing: "publishing" });
  if (news.state !== "connected") peer = null;
  switch (news.state) {
    case "connecting":
      showState(news.again ? "reconnecting" : "connecting", "warn");
      break;
    case "connected":
      peer = news.peer;
      rates = new Rates();
      sentBytes = 0;
      showMessage(null);
      showState("publishing", "good");
      applySending().catch(() => {}); // it was closed meanwhile
      break;
    case "lost":
    case "waiting":
      showState("reconnecting", "warn");
      showMessage(
        { ...explained, text: `${explained.text} Trying again in ${news.seconds} s.`.trim() },
        "warn",
      );
      break;
    case "refused":
      closeSource();
      showState("refused", "bad");
      showMessage(explained);
      if (explained.needsToken) $("token").focus();
      break;
    case "stopped":
      closeSource();
      showState("not publishing");
  }
}

// ---- the source

async function open() {
  showMessage(null);
  $("toggle").disabled = true;
  try {
    const [file] = $("file").files;
    const height = Number($("height").value);
    source = await openSource(kind(), { deviceId: $("device").value, height, file }, preview);
  } catch (error) {
    showState("not publishing");
    showMessage(explainSource(error, kind()));
    return;
  } finally {
    $("toggle").disabled = false;
  }
  $("over").hidden = true;
  lock(true);
  source.track.addEventListener("ended", () => {
    keeper.stop();
    showMessage({ title: "The source has ended", text: "It was closed or unplugged." }, "warn");
  });
  listCameras();
  keeper.start();
}

function closeSource() {
  source?.close();
  source = null;
  preview.srcObject = null;
  $("over").hidden = false;
  $("figures").hidden = true;
  lock(false);
}

/** What a source is made of stays as it is while it is open; size and rate may change. */
function lock(isOpen) {
  for (const input of form.elements.source) input.disabled = isOpen;
  for (const id of ["device", "file", "token"]) $(id).disabled = isOpen;
}

async function listCameras() {
  const found = await cameras().catch(() => []);
  const select = $("device");
  const chosen = select.value;
  const options = found.map((camera, index) =>
    make("option", { value: camera.deviceId }, camera.label || `Camera ${index + 1}`),
  );
  select.replaceChildren(make("option", { value: "" }, "Default camera"), ...options);
  if (found.some((camera) => camera.deviceId === chosen)) select.value = chosen;
}

// ---- the connection

const keeper = new Keeper({
  tell,
  connect: (connection, signal) => {
    connection.addTransceiver(source.track, { direction: "sendonly" });
    return openSession(`/whip/${room}`, connection, token.headers, signal);
  },
});

/** Let the sender keep to the chosen height and rate. */
async function applySending() {
  const sender = peer?.getSenders()[0];
  if (!sender) return;
  const parameters = sender.getParameters();
  if (!parameters.encodings?.length) return;
  const wanted = Number($("height").value);
  parameters.encodings[0].maxBitrate = 1000 * Number($("bitrate").value);
  parameters.encodings[0].scaleResolutionDownBy = Math.max(1, source.height() / wanted);
  await sender.setParameters(parameters);
}

// ---- figures

async function beat() {
  if (!peer) return;
  const now = readOutbound(await peer.getStats(), rates);
  if (!now || !peer) return;
  keeper.beat(now.bytes > sentBytes);
  sentBytes = now.bytes;
  $("figures").hidden = false;
  fillTiles($("tiles"), [
    ["Picture", size(now.width, now.height)],
    ["Frames", number(now.fps, 1), "a second"],
    ["Sent", number(now.kbps), "kb/s"],
    ["Round trip", number(now.rttMs), "ms"],
    ["Packets lost", number(now.lost)],
    ["Sent again", number(now.resent)],
    ["The way carries", number(now.availableKbps), "kb/s"],
    ["Codec", now.codec ?? "–"],
  ]);
  say($("limited"), LIMITED[now.limited] ?? "");
}

async function keepBeating() {
  for (;;) {
    await beat().catch(() => {}); // the connection was closed meanwhile
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

// ---- the form

form.addEventListener("submit", (event) => {
  event.preventDefault();
  token.value = $("token").value;
  if (keeper.isRunning) keeper.stop();
  else open();
});

form.addEventListener("change", () => {
  $("device-field").hidden = kind() !== "camera";
  $("file-field").hidden = kind() !== "file";
  if (source?.track.applyConstraints && kind() === "camera") {
    const height = Number($("height").value);
    const size16 = { height: { ideal: height }, width: { ideal: Math.round((height * 16) / 9) } };
    source.track.applyConstraints(size16).then(applySending, () => {});
  } else {
    applySending().catch(() => {});
  }
});

navigator.mediaDevices?.addEventListener("devicechange", listCameras);
listCameras();
keepBeating();
