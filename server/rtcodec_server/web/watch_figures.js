// The figures of the watch page: those on the picture, and where the time goes.

import { quantileBar } from "./chart.js";
import { $, make, number, say, size } from "./page.js";
import { fillRows } from "./table.js";

const IN_RELAY = ["receive", "decode", "queue", "batch", "engine", "entropy", "send"];
const HERE = { network: "way here", wait: "wait here", decode: "decode here", draw: "draw here" };

const MEAN_OF_S = 5;
const costs = { left: [], right: [] }; // kb/s, second by second

const percent = (share) => `${number(100 * (share ?? 0), 1)} %`;
const ms = (value, digits = 0) => `${number(value, digits)} ms`;

function neuralLines(now) {
  const { work } = now;
  return [
    ["picture", size(now.width, now.height)],
    ["fps", number(now.fps, 1)],
    ["kb/s", number(now.kbps)],
    ["decoder", "rtcodec, wasm"],
    ["carried by", now.carrier === "data" ? "data channel" : "VP8 frames"],
    ["decode + draw", `${number(workMs(work), 1)} ms`],
    ["loss", percent(now.lossShare)],
    ["round trip", ms(now.rttMs)],
    ["first picture", now.firstMs ? ms(now.firstMs) : ""],
  ];
}

function ordinaryLines(now) {
  return [
    ["picture", size(now.width, now.height)],
    ["fps", number(now.fps, 1)],
    ["kb/s", number(now.kbps)],
    ["codec", [now.codec, now.decoder].filter(Boolean).join(", ")],
    ["loss", percent(now.lossShare)],
    ["round trip", ms(now.rttMs)],
    ["buffered here", ms(now.bufferMs)],
  ];
}

function relayLines(relay, rungIndex) {
  const { p50, p95 } = relay.recent.latency_ms.total;
  const rung = relay.rungs.find((one) => one.rung === rungIndex) ?? relay.rungs[0];
  const lines = [["neural stream", `${number(relay.kbps)} kb/s`]];
  if (rung) lines.push(["rung", `${rung.rung}, ${size(rung.width, rung.height)}`]);
  lines.push(["its PSNR", `${number(relay.recent.psnr_db, 1)} dB`]);
  lines.push(["in the relay", `${number(p50, 1)} / ${number(p95, 1)} ms`]);
  return lines;
}

/** Return the milliseconds that decoding and drawing a picture take here, or null. */
function workMs(work) {
  const { decode, draw } = work?.stagesMs ?? {};
  return decode && draw ? decode.p50 + draw.p50 : null;
}

/** Show the figures of a view on its picture; the relay's where it tells them. */
export function showNumbers(view, leading, relay) {
  if (!leading) return;
  const lines = view === "ordinary" ? ordinaryLines(leading) : neuralLines(leading);
  if (relay) lines.push(...relayLines(relay, leading.rung));
  const shown = lines.filter(([, value]) => value);
  $("numbers").replaceChildren(
    ...shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
  );
}

/** Show what each half of the picture costs, as the mean of the last seconds. */
export function showRates(neural, ordinary) {
  for (const [side, name, now] of [
    ["left", "neural", neural],
    ["right", "VP8", ordinary],
  ]) {
    const kept = (costs[side] = now?.kbps ? [...costs[side], now.kbps].slice(-MEAN_OF_S) : []);
    const kbps = kept.length ? kept.reduce((sum, one) => sum + one) / kept.length : null;
    say($(`${side}-label`), `${name} · ${number(kbps)} kb/s`);
  }
}

/** Show how long each stage takes, from the relay to the canvas. */
export function showStages(neural, relay) {
  const rows = [];
  for (const stage of relay ? IN_RELAY : []) {
    rows.push([stage, relay.recent.latency_ms[stage]]);
  }
  for (const [stage, name] of Object.entries(HERE)) rows.push([name, neural.work?.stagesMs[stage]]);
  const known = rows.filter(([, times]) => times && times.p50 !== null);
  $("stages-card").hidden = !known.length;
  if (!known.length) return;
  const most = Math.max(1, ...known.map(([, { p95 }]) => p95));
  const sum = known.reduce((total, [, { p50 }]) => total + p50, 0);
  say($("total"), `${number(sum)} ms, medians added`);
  fillRows(
    $("stages"),
    known.map(([name, { p50, p95 }]) => ({
      key: name,
      cells: [name, quantileBar(p50, p95, most), number(p50, 1), number(p95, 1)],
    })),
  );
}
