"""
The page at `/`: what goes on in the rooms, refreshed every second.

No scripts from elsewhere. Where the relay asks for a token, so does the page:
it keeps it for as long as its tab is open and sends it in the header.
"""

import base64
import hashlib
from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rtcodec relay</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
         color-scheme: light dark }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #8884 }
  th:first-child, td:first-child { text-align: left }
  code { background: #8882; padding: .1rem .3rem; border-radius: .2rem }
  #state { color: #888 }
</style>
<h1>rtcodec relay</h1>
<p id="state">loading</p>
<form id="ask" hidden><label>admin token <input id="token" type="password" size="40"
  autocomplete="off"></label> <button>show</button></form>
<table>
  <thead><tr><th>room</th><th>size</th><th>fps</th><th>kb/s</th><th>PSNR dB</th>
  <th>latency p50 / p95 ms</th><th>received</th><th>encoded</th><th>dropped</th><th>sent</th>
  <th>watching</th></tr></thead>
  <tbody id="rooms"></tbody>
</table>
<p>Publish to <code>/whip/ROOM</code>, watch <code>/whep/ROOM</code> with
<code>rtcodec watch</code>. Figures: <a href="/api/rooms">/api/rooms</a>,
<a href="/metrics">/metrics</a>.</p>
<script>
const ask = document.getElementById("ask");
ask.addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("token", document.getElementById("token").value.trim());
  refresh();
});
const show = (value, digits) => value === null ? "-" : value.toFixed(digits);
async function refresh() {
  const state = document.getElementById("state"), body = document.getElementById("rooms");
  try {
    const token = sessionStorage.getItem("token");
    const headers = token ? {Authorization: `Bearer ${token}`} : {};
    const answer = await fetch("/api/rooms", {headers});
    const report = await answer.json();
    ask.hidden = answer.ok;
    if (!answer.ok) { state.textContent = report.detail; body.replaceChildren(); return; }
    const engine = report.engine;
    state.textContent = engine
      ? `${engine.model} on ${engine.engine} (${engine.precision}, ${engine.hardware})`
      : "the engine is getting ready";
    body.replaceChildren(...report.rooms.map(room => {
      const row = document.createElement("tr"), total = room.latency_ms.total;
      const cells = [room.room, room.width ? `${room.width}x${room.height}` : "-",
        show(room.fps, 1), show(room.kbps, 0), show(room.psnr_db.yuv, 2),
        `${show(total.p50, 1)} / ${show(total.p95, 1)}`, room.frames.received,
        room.frames.encoded, room.frames.dropped, room.frames.sent, room.subscribers.length];
      for (const text of cells) row.appendChild(document.createElement("td")).textContent = text;
      return row;
    }));
  } catch (error) { state.textContent = "the relay does not answer"; }
}
refresh();
setInterval(refresh, 1000);
</script>
</html>
"""


def _digest_of(tag: str) -> str:
    content = PAGE.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; connect-src 'self'; script-src 'sha256-{_digest_of('script')}'; "
        f"style-src 'sha256-{_digest_of('style')}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
