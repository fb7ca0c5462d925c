// The dashboard at `/`: asks the relay every second and draws what it says.

import { LineChart, quantileBar } from "./chart.js";
import { Rates } from "./figures.js";
import { $, Token, make, number, say, sentence, size } from "./page.js";
import { History } from "./history.js";
import { sumOf } from "./metrics.js";
import { fillRows, fillTiles } from "./table.js";

const EVERY_MS = 1000;
const LOAD_EVERY_MS = 2000;
const STAGES = ["receive", "decode", "queue", "batch", "engine", "entropy", "send", "total"];

const token = new Token();
const history = new History();
const rates = new Rates();
let chosen = null;

const charts = {
  kbps: new LineChart({ title: "Neural stream", unit: "kb/s", names: [""] }),
  latency: new LineChart({ title: "Latency", unit: "ms", digits: 1, names: ["p50", "p95"] }),
  psnr: new LineChart({ title: "PSNR", unit: "dB", digits: 1, names: [""], fromZero: false }),
};
$("charts").append(...Object.values(charts).map((chart) => chart.element));

// ---- rooms

function stateOf(room) {
  if (room.live) return ["live", "good"];
  return room.publisher ? ["quiet", "warn"] : ["no publisher", ""];
}

function choose(name) {
  chosen = name;
  refresh();
}

function links(name) {
  const link = (page, text) =>
    make(
      "a",
      { class: "button small", href: `/${page}/${name}`, "aria-label": `${text} ${name}` },
      text,
    );
  return make("div", { class: "row" }, link("watch", "Watch"), link("publish", "Publish"));
}

function showRooms(rooms) {
  const rows = rooms.map((room) => {
    const { p50, p95 } = room.recent.latency_ms.total;
    const [text, kind] = stateOf(room);
    return {
      key: room.room,
      cells: [
        () => {
          const button = make("button", { class: "link", type: "button" }, room.room);
          button.addEventListener("click", () => choose(room.room));
          return button;
        },
        make("span", { class: `pill ${kind}` }, text),
        size(room.width, room.height),
        number(room.fps, 1),
        number(room.kbps),
        number(room.recent.psnr_db, 1),
        `${number(p50, 1)} / ${number(p95, 1)}`,
        String(room.rungs.length || "–"),
        String(room.subscribers.length),
        () => links(room.room),
      ],
    };
  });
  fillRows($("rooms"), rows);
  for (const row of $("rooms").rows) {
    const isChosen = row.dataset.key === chosen;
    row.classList.toggle("chosen", isChosen);
    row.querySelector("button").setAttribute("aria-pressed", String(isChosen));
  }
  $("no-rooms").hidden = rooms.length > 0;
}

function showTiles(report) {
  const { rooms } = report;
  const sum = (value) => rooms.reduce((total, room) => total + value(room), 0);
  const largest = (values) => (values.length ? Math.max(...values) : null);
  const p95 = rooms.map((room) => room.recent.latency_ms.total.p95).filter((ms) => ms !== null);
  const psnr = rooms.map((room) => room.recent.psnr_db).filter((db) => db !== null);
  fillTiles(
    $("tiles"),
    [
      ["Rooms", number(rooms.length)],
      ["Publishers", number(sum((room) => (room.publisher ? 1 : 0)))],
      ["Subscribers", number(sum((room) => room.subscribers.length))],
      ["Frames coded", number(sum((room) => room.fps)), "a second"],
      ["Neural streams", number(sum((room) => room.kbps)), "kb/s"],
      ["Slowest p95", number(largest(p95), 1), "ms"],
      ["Lowest PSNR", number(psnr.length ? Math.min(...psnr) : null, 1), "dB"],
    ],
    "card",
  );
}

// ---- the chosen room

function showRoom(room) {
  $("room-card").hidden = !room;
  if (!room) return;
  say($("room-title"), `Room ${room.room}`);
  const target =
    room.target_kbps === null ? `qp ${room.qp}` : `aims at ${number(room.target_kbps)} kb/s`;
  const { frames } = room;
  say(
    $("room-note"),
    `${target} · ${number(frames.encoded)} frames coded, ${number(frames.dropped)} dropped`,
  );
  charts.kbps.show([history.of(room.room, "kbps")]);
  charts.latency.show([history.of(room.room, "p50"), history.of(room.room, "p95")]);
  charts.psnr.show([history.of(room.room, "psnr")]);
  showStages(room.recent.latency_ms);
  showRungs(room.rungs);
  showPeople(room);
}

function showStages(latency) {
  const most = Math.max(1, ...Object.values(latency).map(({ p95 }) => p95 ?? 0));
  const row = (stage) => {
    const { p50, p95 } = latency[stage];
    return {
      key: stage,
      cells: [stage, quantileBar(p50, p95, most), number(p50, 1), number(p95, 1)],
    };
  };
  fillRows($("stages"), STAGES.filter((stage) => latency[stage]).map(row));
}

function showRungs(rungs) {
  const row = (rung) => ({
    key: String(rung.rung),
    cells: [
      String(rung.rung),
      size(rung.width, rung.height),
      number(rung.fps, 1),
      number(rung.kbps),
      number(rung.target_kbps),
      number(rung.psnr_db, 1),
      number(rung.subscribers),
    ],
  });
  fillRows($("rungs"), rungs.map(row));
  $("rungs-part").hidden = !rungs.length;
}

function latentsOf({ carrier, rung }) {
  const where = carrier === "own" ? "" : " in a tab";
  return `latents${where}${rung === undefined ? "" : `, rung ${rung}`}`;
}

function showPeople({ publisher, subscribers }) {
  const rows = subscribers.map((peer) => ({
    key: peer.session,
    cells: [
      peer.session,
      peer.codec === "X-RTC-LATENT" ? latentsOf(peer) : peer.codec,
      peer.state,
      number(peer.frames_sent),
      number(peer.nack_count),
      number((peer.available_bps ?? peer.remb_bps ?? Number.NaN) / 1000),
    ],
  }));
  if (publisher) {
    const { session, state, frames, received } = publisher;
    rows.unshift({
      key: session,
      cells: [
        session,
        "publishes",
        state ?? "–",
        number(frames?.received),
        number(received?.nack_count),
        "–",
      ],
    });
  }
  fillRows($("people"), rows);
}

// ---- the engine and the processes: only for who may see all of the relay

/** Path -> the token that was not enough for it: what was refused is not asked for again. */
const refusedTo = new Map();
let hasProcesses = null;

async function askFor(path) {
  if (refusedTo.get(path) === token.value) return null;
  const response = await fetch(path, { headers: token.headers, cache: "no-store" });
  if (response.ok) return response;
  refusedTo.set(path, token.value);
  return null;
}

async function refreshLoad() {
  if (hasProcesses === null) {
    // only the supervisor of several processes says how it is in JSON
    const health = await fetch("/healthz", { cache: "no-store" });
    hasProcesses = health.headers.get("Content-Type")?.startsWith("application/json") ?? false;
  }
  const metrics = await askFor("/metrics");
  if (metrics) showLoad(await metrics.text());
  const processes = hasProcesses ? await askFor("/api/processes") : null;
  if (processes) showProcesses((await processes.json()).processes);
  $("load-card").hidden = !metrics && !processes;
}

function showLoad(text) {
  const atMs = performance.now();
  const perSecond = (name) => rates.of(name, sumOf(text, name) ?? undefined, atMs);
  const cores = perSecond("rtcodec_process_cpu_seconds_total");
  const batches = perSecond("rtcodec_batch_size_count");
  const batched = perSecond("rtcodec_batch_size_sum");
  const lag = sumOf(text, "rtcodec_event_loop_lag_seconds");
  const memory = sumOf(text, "rtcodec_process_resident_memory_bytes");
  fillTiles($("load"), [
    ["Processor", cores === null ? "–" : number(cores, 2), "cores"],
    ["Memory", memory === null ? null : number(memory / 1e6), "MB"],
    ["Engine batches", number(batches, 1), "a second"],
    ["Frames in a batch", batches ? number(batched / batches, 2) : "–"],
    ["Event loop late by", lag === null ? null : number(lag * 1000, 1), "ms"],
    ["Engine failures", number(sumOf(text, "rtcodec_engine_failures_total"))],
  ]);
}

function showProcesses(processes) {
  $("processes-table").hidden = !processes.length;
  const atMs = performance.now();
  const row = (process) => {
    const cores = rates.of(`cpu ${process.pid}`, process.cpu_s ?? undefined, atMs);
    return {
      key: String(process.pid),
      cells: [
        process.slot === null ? process.kind : `${process.kind} ${process.slot}`,
        process.state,
        cores === null ? "–" : `${number(100 * cores)} %`,
        number((process.resident_bytes ?? Number.NaN) / 1e6),
        number(process.rooms),
        number(process.sessions),
        number(process.deaths),
      ],
    };
  };
  fillRows($("processes"), processes.map(row));
}

// ---- every second

function showRelay(report) {
  const { engine } = report;
  const [text, kind] = report.draining
    ? ["draining", "warn"]
    : report.ready
      ? ["ready", "good"]
      : ["getting ready", "warn"];
  showState(text, kind);
  say(
    $("engine"),
    engine
      ? `${engine.model} on ${engine.engine}, ${engine.precision} · ${report.version}`
      : report.version,
  );
  say($("load-note"), engine ? engine.hardware : "");
  $("figures").hidden = $("rooms-card").hidden = false;
  showGrafana(report.grafana_url);
}

/** Link to the history of the figures, where the relay names one to who may see all of it. */
function showGrafana(url) {
  const isAddress = /^https?:/i.test(url ?? "");
  $("grafana").hidden = !isAddress;
  if (isAddress) $("grafana").href = url;
}

function showState(text, kind) {
  say($("state"), text);
  $("state").className = `pill ${kind}`;
}

function showRefusal(status, detail) {
  const needsToken = status === 401 || status === 403;
  const wasHidden = $("ask").hidden;
  $("ask").hidden = !needsToken;
  say($("ask-detail"), sentence(detail));
  showState(needsToken ? "token needed" : "refused", "warn");
  for (const id of ["figures", "rooms-card", "room-card", "load-card"]) $(id).hidden = true;
  if (needsToken && wasHidden) $("token").focus();
}

async function refresh() {
  let response;
  let report;
  try {
    response = await fetch("/api/rooms", { headers: token.headers, cache: "no-store" });
    report = await response.json();
  } catch {
    showState("does not answer", "bad"); // or something before it does, in a page of its own
    return false;
  }
  if (!response.ok) {
    showRefusal(response.status, report.detail);
    return false;
  }
  $("ask").hidden = true;
  history.note(report.rooms, report.time);
  if (!report.rooms.some((room) => room.room === chosen)) {
    chosen = (report.rooms.find((room) => room.live) ?? report.rooms[0])?.room ?? null;
  }
  showRelay(report);
  showTiles(report);
  showRooms(report.rooms);
  showRoom(report.rooms.find((room) => room.room === chosen));
  return true;
}

async function keepAsking(ask, everyMs) {
  for (;;) {
    const isFine = await ask().catch(() => false);
    await new Promise((resolve) => setTimeout(resolve, isFine === false ? 2 * everyMs : everyMs));
  }
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.value = $("token").value;
  $("token").value = "";
  refresh();
});

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(
    `/${event.submitter?.value ?? "watch"}/${encodeURIComponent($("enter-room").value)}`,
  );
});

keepAsking(refresh, EVERY_MS);
keepAsking(async () => $("rooms-card").hidden || refreshLoad(), LOAD_EVERY_MS);
