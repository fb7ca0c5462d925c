// Publish an IVF file of VP8 over WHIP with werift, a WebRTC stack in TypeScript.
//
//     node publish_vp8.mjs URL FILE.ivf [TOKEN]
//
// Packetises by RFC 7741 itself: one byte of descriptor, at most 1100 bytes of frame. Prints one line
// of JSON at the end; leaves with DELETE.

import { readFileSync } from "node:fs";
import {
  MediaStreamTrack,
  RTCPeerConnection,
  RTCRtpCodecParameters,
  RtpHeader,
  RtpPacket,
} from "werift";

const CLOCK = 90000;
const MAX_BYTES = 1100;
const PAYLOAD_TYPE = 96;

const [url, file, token] = process.argv.slice(2);

function* framesOf(ivf) {
  if (ivf.toString("ascii", 0, 4) !== "DKIF") throw Error("not an IVF file");
  const ticks = (CLOCK * ivf.readUInt32LE(20)) / ivf.readUInt32LE(16);
  for (let at = ivf.readUInt16LE(6); at < ivf.length;) {
    const size = ivf.readUInt32LE(at);
    yield {
      time: Number(ivf.readBigUInt64LE(at + 4)) * ticks,
      data: ivf.subarray(at + 12, at + 12 + size),
    };
    at += 12 + size;
  }
}

let sequence = 1000;

function packetsOf({ time, data }, ssrc) {
  const packets = [];
  for (let at = 0; at < data.length; at += MAX_BYTES) {
    const header = new RtpHeader({
      version: 2,
      payloadType: PAYLOAD_TYPE,
      sequenceNumber: sequence++ & 0xffff,
      timestamp: time >>> 0,
      ssrc,
      marker: at + MAX_BYTES >= data.length,
    });
    const descriptor = Buffer.from([at === 0 ? 0x10 : 0]); // S: the frame starts here
    packets.push(
      new RtpPacket(header, Buffer.concat([descriptor, data.subarray(at, at + MAX_BYTES)])),
    );
  }
  return packets;
}

const headers = token ? { Authorization: `Bearer ${token}` } : {};
const peer = new RTCPeerConnection({
  iceServers: [],
  iceAdditionalHostAddresses: ["127.0.0.1"],
  codecs: {
    video: [
      new RTCRtpCodecParameters({
        mimeType: "video/VP8",
        clockRate: CLOCK,
        payloadType: PAYLOAD_TYPE,
        rtcpFeedback: [{ type: "nack" }, { type: "nack", parameter: "pli" }, { type: "goog-remb" }],
      }),
    ],
  },
});
const track = new MediaStreamTrack({ kind: "video" });
const transceiver = peer.addTransceiver(track, { direction: "sendonly" });
let plis = 0;
transceiver.sender.onPictureLossIndication.subscribe(() => plis++);

await peer.setLocalDescription(await peer.createOffer());
const answer = await fetch(url, {
  method: "POST",
  body: peer.localDescription.sdp,
  headers: { "Content-Type": "application/sdp", ...headers },
});
const text = await answer.text();
if (answer.status !== 201) {
  console.error(`${answer.status}: ${text}`);
  process.exit(1);
}
const session = new URL(answer.headers.get("Location"), url);
await peer.setRemoteDescription({ type: "answer", sdp: text });
while (peer.connectionState !== "connected") await new Promise((done) => setTimeout(done, 10));

const start = performance.now();
let frames = 0;
for (const frame of framesOf(readFileSync(file))) {
  const due = start + (frame.time * 1000) / CLOCK;
  await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
  for (const packet of packetsOf(frame, transceiver.sender.ssrc)) track.writeRtp(packet);
  frames++;
}
await new Promise((done) => setTimeout(done, 500)); // for what is asked for again
const left = await fetch(session, { method: "DELETE", headers });
console.log(JSON.stringify({ frames, plis, left: left.status }));
await peer.close();
process.exit(0);
