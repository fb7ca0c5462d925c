// WHIP and WHEP of a page (RFC 9725, draft-ietf-wish-whep): offer, trickled candidates, leaving.

const GATHER_MS = 150; // candidates of this machine are there by then; later ones are trickled
const LEAVE_MS = 5_000; // a relay that is gone does not answer
const TRICKLE_MS = 100; // candidates that come together go together: requests are limited

/** The relay said no, with a reason for people. */
export class Refused extends Error {
  /** `retryAfterS` is null where the relay named no time. */
  constructor(status, detail, retryAfterS) {
    super(detail);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }

  static async of(response) {
    let detail = response.statusText || `status ${response.status}`;
    if (response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
      detail = (await response.json()).detail ?? detail;
    }
    const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    return new Refused(response.status, detail, Number.isNaN(wait) ? null : wait);
  }
}

/** A session that the relay has opened for a peer connection. */
export class Session {
  #url;
  #etag;
  #headers;

  constructor(url, etag, headers) {
    this.#url = url;
    this.#etag = etag;
    this.#headers = headers;
  }

  /** What the relay's figures call it. */
  get shown() {
    return this.#url.split("/").at(-1).slice(0, 8);
  }

  /** Return whether the relay still has it. Rejects if the relay does not answer. */
  async isThere() {
    const response = await fetch(this.#url, { headers: this.#headers, cache: "no-store" });
    return response.ok;
  }

  /** Leave. Goes out even while the page is being closed. Resolves, whatever the answer is. */
  async leave() {
    const signal = AbortSignal.timeout(LEAVE_MS);
    const options = { method: "DELETE", headers: this.#headers, keepalive: true, signal };
    await fetch(this.#url, options).catch(() => {});
  }

  async trickle(fragment) {
    const type = "application/trickle-ice-sdpfrag";
    const headers = { ...this.#headers, "Content-Type": type, "If-Match": this.#etag };
    // without them the connection may still stand: the relay sees where checks come from
    await fetch(this.#url, { method: "PATCH", headers, body: fragment }).catch(() => {});
  }
}

/**
 * Offer what `peer` has and let the relay's answer connect it.
 *
 * Rejects with `Refused` if the relay says no, with `TypeError` if it does not answer.
 */
export async function openSession(endpoint, peer, tokenHeaders, signal) {
  const late = [];
  const note = ({ candidate }) => late.push(candidate);
  await peer.setLocalDescription();
  await gathered(peer);
  peer.addEventListener("icecandidate", note);
  const offer = peer.localDescription.sdp;
  const response = await fetch(endpoint, {
    method: "POST",
    headers: { ...tokenHeaders, "Content-Type": "application/sdp" },
    body: offer,
    signal,
  });
  if (response.status !== 201) throw await Refused.of(response);
  const url = new URL(response.headers.get("Location"), response.url).href;
  const session = new Session(url, response.headers.get("ETag") ?? "*", tokenHeaders);
  try {
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  } catch (error) {
    session.leave();
    throw error;
  }
  peer.removeEventListener("icecandidate", note);
  trickleTo(session, peer, offer, late);
  return session;
}

function gathered(peer) {
  return new Promise((resolve) => {
    setTimeout(resolve, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") resolve();
    });
  });
}

function trickleTo(session, peer, offer, waiting) {
  let timer = null;
  const send = () => {
    timer = null;
    if (peer.signalingState !== "closed") session.trickle(fragmentOf(offer, waiting.splice(0)));
  };
  const soon = () => (timer ??= setTimeout(send, TRICKLE_MS));
  peer.addEventListener("icecandidate", ({ candidate }) => {
    waiting.push(candidate);
    soon();
  });
  if (waiting.length) soon();
}

/** Write a trickle-ice-sdpfrag (RFC 8840); null among the candidates is their end. */
export function fragmentOf(offer, candidates) {
  const line = (start) => offer.split("\r\n").find((text) => text.startsWith(start));
  const lines = [line("a=ice-ufrag:"), line("a=ice-pwd:"), line("m="), line("a=mid:")];
  for (const candidate of candidates) {
    if (candidate?.candidate) lines.push(`a=${candidate.candidate}`);
    else lines.push("a=end-of-candidates");
  }
  return lines.map((text) => `${text}\r\n`).join("");
}
