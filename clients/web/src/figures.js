// What RTCPeerConnection.getStats says, as figures for people.

/** Makes rates of counters that only grow. */
export class Rates {
  #last = new Map();

  /** Return how much a counter grew in a second since the last time; null the first time. */
  of(name, value, atMs) {
    const last = this.#last.get(name);
    this.#last.set(name, { value, atMs });
    if (!last || value === undefined || atMs <= last.atMs || value < last.value) return null;
    return ((value - last.value) * 1000) / (atMs - last.atMs);
  }

  /** Return how much it grew, or null. */
  growth(name, value) {
    const key = `${name} growth`;
    const last = this.#last.get(key);
    this.#last.set(key, value);
    return last === undefined || value === undefined || value < last ? null : value - last;
  }
}

function videoOf(report, type) {
  for (const entry of report.values()) {
    if (entry.type === type && entry.kind === "video") return entry;
  }
  return null;
}

function pairOf(report) {
  for (const entry of report.values()) {
    if (entry.type !== "transport") continue;
    const pair = report.get(entry.selectedCandidatePairId);
    if (pair) return pair;
  }
  return null;
}

const codecOf = (report, entry) => report.get(entry?.codecId)?.mimeType.split("/")[1] ?? null;

/** Return what is received, as far as RTP brings it: rates are null the first time. */
export function readInbound(report, rates) {
  const rttMs = scaled(pairOf(report)?.currentRoundTripTime, 1000);
  const inbound = videoOf(report, "inbound-rtp");
  if (!inbound) return { bytes: 0, frames: 0, rttMs };
  const { timestamp } = inbound;
  const lost = rates.growth("lost", inbound.packetsLost);
  const got = rates.growth("packets", inbound.packetsReceived);
  const emitted = inbound.jitterBufferEmittedCount;
  return {
    bytes: inbound.bytesReceived,
    frames: inbound.framesDecoded ?? 0,
    fps: rates.of("frames", inbound.framesDecoded, timestamp),
    kbps: scaled(rates.of("bytes", inbound.bytesReceived, timestamp), 8 / 1000),
    width: inbound.frameWidth,
    height: inbound.frameHeight,
    lossShare: lost === null || got === null || lost + got <= 0 ? null : lost / (lost + got),
    lost: inbound.packetsLost,
    freezes: inbound.freezeCount ?? 0,
    bufferMs: emitted ? (1000 * inbound.jitterBufferDelay) / emitted : null,
    rttMs,
    codec: codecOf(report, inbound),
    decoder: inbound.decoderImplementation ?? null,
  };
}

/** Return what comes over a data channel, as `work` has counted it; RTP would say it itself. */
export function channelFigures(work, rates) {
  if (!work) return {};
  const kbps = scaled(rates.of("bytes", work.bytes, performance.now()), 8 / 1000);
  const lost = rates.growth("lost", work.messagesLost);
  const sent = rates.growth("messages", work.messages);
  const lossShare = lost === null || !sent ? null : lost / sent;
  return { bytes: work.bytes, kbps, lossShare, lost: work.messagesLost };
}

/** Return what is sent: rates are null the first time. */
export function readOutbound(report, rates) {
  const outbound = videoOf(report, "outbound-rtp");
  if (!outbound) return null;
  const remote = videoOf(report, "remote-inbound-rtp");
  const { timestamp } = outbound;
  const pair = pairOf(report);
  return {
    bytes: outbound.bytesSent,
    fps: rates.of("frames", outbound.framesEncoded, timestamp),
    kbps: scaled(rates.of("bytes", outbound.bytesSent, timestamp), 8 / 1000),
    width: outbound.frameWidth,
    height: outbound.frameHeight,
    rttMs: scaled(remote?.roundTripTime ?? pair?.currentRoundTripTime, 1000),
    lost: remote?.packetsLost ?? null,
    lossShare: remote?.fractionLost ?? null,
    resent: outbound.retransmittedPacketsSent ?? 0,
    limited: outbound.qualityLimitationReason ?? "none",
    availableKbps: scaled(pair?.availableOutgoingBitrate, 1 / 1000),
    codec: codecOf(report, outbound),
    encoder: outbound.encoderImplementation ?? null,
  };
}

const scaled = (value, factor) => (value === null || value === undefined ? null : value * factor);
