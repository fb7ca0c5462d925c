"""
Measure the receive path: aiortc's own beside ours, with and without loss.

    python -m benchmarks.receive_path [--output FILE] [--seconds 10] [--loss 0 0.01] [--streams 2]

Real connections over loopback in one process: latents of 4 kB a frame and VP8
of 640x360, at 30 frames per second. The streams of both paths run at the same
time, so what else the machine does hits both. Latency is from the frame being
given to the sender to it coming out of the receiver, decoded if it is VP8;
lost packets are RTP packets of either kind, retransmissions too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import aioice.ice
import aiortc.rtcrtpreceiver
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import is_rtcp

from benchmarks.entropy import machine
from rtcodec.packet.payload import FrameTiming, read_payload
from rtcodec.webrtc import (
    LatentReceiver,
    LatentSender,
    OutgoingFrame,
    QueueClosed,
    VideoReceiver,
    accept_answer,
    accept_offer,
    add_video_track,
    create_answer,
    create_offer,
    monotonic_us,
    new_connection,
)

FPS = 30
LATENT_PACKETS = (1000, 1000, 1000, 1000)
WARM_UP_S = 1.0
TIME_BASE = Fraction(1, 90_000)


@dataclass
class Stream:
    """One connection and what was measured on it."""

    path: str
    kind: str
    sent_us: dict[int, int] = field(default_factory=dict)
    "pts -> time."

    latency_ms: list[float] = field(default_factory=list)
    n_out: int = 0
    is_measuring: bool = False
    connections: list[RTCPeerConnection] = field(default_factory=list)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    "Whether both ends run: receivers count time from the first frame, which has to be ours."

    def give(self, pts: int) -> None:
        """Note that a frame goes to the sender."""
        self.sent_us[pts] = monotonic_us()

    def take(self, pts: int) -> None:
        """Note that a frame came out of the receiver."""
        at_us = self.sent_us.pop(pts, None)
        if at_us is not None and self.is_measuring:
            self.n_out += 1
            self.latency_ms.append((monotonic_us() - at_us) / 1000)


class PassThrough:
    """aiortc's decoder for latents: what it would be without a receive path of our own."""

    def decode(self, frame: JitterFrame) -> list[bytes]:
        """Return the joined payloads."""
        return [frame.data]


class PacketTrack(MediaStreamTrack):
    """Repeats two seconds of VP8, encoded beforehand."""

    kind = "video"

    def __init__(self, stream: Stream, packets: list[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._packets = packets
        self._number = 0
        self._start_s: float | None = None

    async def recv(self) -> av.Packet[Any]:
        """Give the next frame when it is due."""
        await self._stream.is_ready.wait()
        loop = asyncio.get_running_loop()
        self._start_s = self._start_s or loop.time()
        await asyncio.sleep(self._start_s + self._number / FPS - loop.time())
        packet = av.Packet(self._packets[self._number % len(self._packets)])
        packet.pts, packet.time_base = self._number * 3000, TIME_BASE
        self._number += 1
        self._stream.give(packet.pts)
        return packet


class Loss:
    """Drops media packets of this process, the same ones for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self.share = 0.0
        self._random = random.Random(seed)
        self._send_data = aioice.ice.StunProtocol.send_data
        loss = self

        async def send_data(self: Any, data: bytes, addr: tuple[str, int]) -> None:
            is_media = 127 < data[0] < 192 and not is_rtcp(data)
            if not (is_media and loss._random.random() < loss.share):
                await loss._send_data(self, data, addr)

        aioice.ice.StunProtocol.send_data = send_data  # type: ignore[method-assign]


def encode_vp8() -> list[bytes]:
    """Encode two seconds of a moving picture, 640x360 at 0.5 Mb/s."""
    codec = av.CodecContext.create("libvpx", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt = 640, 360, "yuv420p"
    codec.bit_rate, codec.gop_size, codec.time_base = 500_000, 9999, Fraction(1, FPS)
    codec.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    noise = np.random.default_rng(1).integers(0, 40, (360, 1280), np.uint8)
    packets = []
    for number in range(2 * FPS):
        picture = np.full((540, 640), 128, np.uint8)
        picture[:360] = 80 + noise[:, 4 * number : 4 * number + 640]
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = number
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets


async def connect(stream: Stream, vp8: list[bytes]) -> list[asyncio.Task[None]]:
    """Connect a sender to a receiver and let frames flow."""
    there, here = new_connection(), new_connection()
    stream.connections = [there, here]
    tasks: list[asyncio.Task[None]] = []

    @here.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        receiver = here.getTransceivers()[0].receiver
        if stream.path == "stock":
            tasks.append(asyncio.ensure_future(_read_stock(stream, track)))
        elif stream.kind == "latent":
            tasks.append(asyncio.ensure_future(_read_latents(stream, LatentReceiver(receiver))))
        else:
            tasks.append(asyncio.ensure_future(_read_video(stream, VideoReceiver(receiver))))

    sender = LatentSender(max_frames=10)
    if stream.kind == "latent":
        sender.attach(there)
        tasks.append(asyncio.ensure_future(_send_latents(stream, sender)))
    else:
        add_video_track(there, PacketTrack(stream, vp8), codecs=("VP8",))
    offer = await create_offer(there, loopback_only=True)
    await accept_offer(here, offer)
    await accept_answer(there, await create_answer(here, loopback_only=True))
    return tasks


async def _send_latents(stream: Stream, sender: LatentSender) -> None:
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    packets = [os.urandom(size) for size in LATENT_PACKETS]
    number = 0
    while True:
        pts = number * 3000
        stream.give(pts)
        timing = FrameTiming(pts=pts, received_us=0)
        sender.send(OutgoingFrame(packets, pts=pts, timing=timing, is_keyframe=True))
        number += 1
        await asyncio.sleep(start_s + number / FPS - loop.time())


async def _read_stock(stream: Stream, track: MediaStreamTrack) -> None:
    first_pts: int | None = None
    while True:
        try:
            item: Any = await track.recv()
        except MediaStreamError:
            return
        if isinstance(item, bytes):
            timing = read_payload(item).timing
            if timing is not None:
                stream.take(timing.pts)
        else:
            first_pts = item.pts if first_pts is None else first_pts
            stream.take(item.pts - first_pts)


async def _read_latents(stream: Stream, receiver: LatentReceiver) -> None:
    async for frame in receiver:
        if frame.timing is not None:
            stream.take(frame.timing.pts)


async def _read_video(stream: Stream, receiver: VideoReceiver) -> None:
    while True:
        try:
            frame = await receiver.recv()
        except QueueClosed:
            return
        stream.take(frame.pts)


async def run_case(
    kind: str, loss: float, *, seconds: float, n_streams: int, network: Loss, vp8: list[bytes]
) -> list[dict[str, Any]]:
    """Run the streams of both paths together and return a row for each path."""
    streams = [Stream(path, kind) for path in ("stock", "ours") for _ in range(n_streams)]
    tasks = [task for stream in streams for task in await connect(stream, vp8)]
    connections = [connection for stream in streams for connection in stream.connections]
    while any(c.connectionState != "connected" for c in connections):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await asyncio.sleep(WARM_UP_S)
    for stream in streams:
        stream.is_ready.set()
    await asyncio.sleep(WARM_UP_S)
    network.share = loss
    for stream in streams:
        stream.is_measuring = True
    await asyncio.sleep(seconds)
    for stream in streams:
        stream.is_measuring = False
    network.share = 0.0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*(connection.close() for connection in connections))
    await asyncio.gather(*tasks, return_exceptions=True)
    return [
        summary(path, kind, loss, seconds, [s for s in streams if s.path == path])
        for path in ("stock", "ours")
    ]


def summary(
    path: str, kind: str, loss: float, seconds: float, streams: list[Stream]
) -> dict[str, Any]:
    """Return the figures of one path in one case."""
    latency_ms = np.array([value for stream in streams for value in stream.latency_ms])
    p50, p95, p99 = (float(np.percentile(latency_ms, q)) for q in (50, 95, 99))
    return {
        "path": path,
        "kind": kind,
        "loss": loss,
        "frames": len(latency_ms),
        "fps": round(len(latency_ms) / len(streams) / seconds, 2),
        "latency_ms": {
            "p50": round(p50, 2),
            "p95": round(p95, 2),
            "p99": round(p99, 2),
            "max": round(float(latency_ms.max()), 2),
        },
    }


async def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run every case."""
    network = Loss()
    stock_decoder = aiortc.codecs.get_decoder

    def get_decoder(codec: RTCRtpCodecParameters) -> Any:
        return PassThrough() if codec.name == "X-RTC-LATENT" else stock_decoder(codec)

    vars(aiortc.rtcrtpreceiver)["get_decoder"] = get_decoder
    vp8 = encode_vp8()
    rows = []
    for kind in ("latent", "vp8"):
        for loss in args.loss:
            print(f"{kind}, {loss:.1%} loss", file=sys.stderr, flush=True)
            rows += await run_case(
                kind, loss, seconds=args.seconds, n_streams=args.streams, network=network, vp8=vp8
            )
    return rows


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=2, help="of each path")
    parser.add_argument("--loss", type=float, nargs="+", default=[0.0, 0.01])
    args = parser.parse_args()
    try:
        import uvloop

        rows = uvloop.run(run(args))
    except ImportError:
        rows = asyncio.run(run(args))
    for row in rows:
        latency = row["latency_ms"]
        print(
            f"{row['kind']:>6} {row['loss']:5.1%} {row['path']:>5}: p50 {latency['p50']:7.2f}"
            f"  p95 {latency['p95']:7.2f}  p99 {latency['p99']:7.2f}  max {latency['max']:7.2f} ms"
            f"  {row['fps']:5.2f} fps"
        )
    result = {
        "command": "python -m benchmarks.receive_path",
        "machine": machine(),
        "seconds": args.seconds,
        "streams_of_each_path": args.streams,
        "cases": rows,
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
