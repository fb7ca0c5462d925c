"""
Connect while strangers forge DTLS to both ends' ports; say how many came through.

    python -m benchmarks.handshake [--connections 100] [--output FILE]

A relay with the stand-in engine, publishers, and the flood on one machine, over loopback: three
kinds of datagrams in turn, from addresses that neither end ever heard of, a thousand a second to
each end from before its handshake until it is over. A connection counts when frames arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack

from benchmarks.entropy import machine
from benchmarks.signalling import quantiles
from rtcodec.webrtc import accept_answer, add_video_track, create_offer, new_connection
from rtcodec_server.app import RunningServer, running_server
from rtcodec_server.client_limits import RequestLimits
from rtcodec_server.config import ServerConfig
from rtcodec_server.publisher_peer import PublisherPeer

PATIENCE_S: Final = 15.0
_BURST, _PAUSE_S = 10, 0.01
_TICKS: Final = Fraction(1, 90_000)

FORGED: Final = {
    # content type 21, DTLS 1.2, epoch 0: fatal, handshake_failure
    "alert": bytes.fromhex("15feff000000000000000000020228"),
    # 21, close_notify
    "goodbye": bytes.fromhex("15feff000000000000000000020100"),
    # 22, a ClientHello of one cipher suite, without a cookie
    "hello": bytes.fromhex(
        "16feff000000000000000000360100002a000000000000002afefd" + "5a" * 32 + "00000002c02b0100"
    ),
    "media": b"\x80\x61" + bytes(1000),
}


class _Grey(MediaStreamTrack):
    kind = "video"
    _n = 0

    async def recv(self) -> av.VideoFrame:
        """Give a frame thirty times a second."""
        await asyncio.sleep(1 / 30)
        frame = av.VideoFrame.from_ndarray(np.full((144, 128), 128, np.uint8), format="yuv420p")
        frame.pts, frame.time_base = self._n * 3000, _TICKS
        self._n += 1
        return frame


def ports_of(sdp: str) -> list[int]:
    """Return where somebody on loopback listens for media."""
    return [int(port) for port in re.findall(r"a=candidate:.* 127\.0\.0\.1 (\d+) typ", sdp)]


@asynccontextmanager
async def flooded(ports: list[int]) -> AsyncIterator[dict[str, int]]:
    """Send forged datagrams to *ports* meanwhile; yields how many of each kind."""
    sent = dict.fromkeys(FORGED, 0)

    async def flood(stranger: socket.socket) -> None:
        kinds = cycle(FORGED.items())
        while True:
            for _ in range(_BURST):
                name, data = next(kinds)
                for port in ports:
                    stranger.sendto(data, ("127.0.0.1", port))
                sent[name] += len(ports)
            await asyncio.sleep(_PAUSE_S)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setblocking(False)
        flooding = asyncio.ensure_future(flood(stranger))
        await asyncio.sleep(0)
        try:
            yield sent
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)


def _received(peer: object) -> int:
    """Frames that came from a peer."""
    return peer.stream.frames.received if isinstance(peer, PublisherPeer) else 0


async def connect(server: RunningServer, http: aiohttp.ClientSession, room: str) -> dict[str, Any]:
    """Publish to *room* under a flood; say whether frames arrived, and when."""
    connection = new_connection()
    try:
        add_video_track(connection, _Grey())
        offer = await create_offer(connection, loopback_only=True)
        headers = {"Content-Type": "application/sdp"}
        async with http.post(f"/whip/{room}", data=offer, headers=headers) as response:
            answer = await response.text()
        async with flooded(ports_of(offer) + ports_of(answer)) as sent:
            start_s = time.perf_counter()
            await accept_answer(connection, answer)
            peer = server.relay.publisher_of(room)
            while time.perf_counter() - start_s < PATIENCE_S:
                if connection.connectionState in ("failed", "closed"):
                    break
                if _received(peer) >= 3:
                    break
                await asyncio.sleep(0.005)
            took_s = time.perf_counter() - start_s
        arrived = _received(peer) >= 3
        return {"connected": arrived, "ms": round(took_s * 1000, 1), "forged": sum(sent.values())}
    finally:
        await connection.close()


async def run(n_connections: int) -> list[dict[str, Any]]:
    """Make connections one after the other, each under its own flood."""
    config = ServerConfig(port=0, engine="null", psnr="off", requests=RequestLimits(per_s=0))
    async with running_server(config) as server, aiohttp.ClientSession(server.url) as http:
        await server.ready
        return [await connect(server, http, f"room-{number}") for number in range(n_connections)]


def main() -> int:
    """Connect, print a line, write JSON; 1 unless all came through."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--connections", type=int, default=100)
    args = parser.parse_args()
    facts = machine()
    rows = asyncio.run(run(args.connections))
    result = {
        "command": "python -m benchmarks.handshake",
        "machine": facts,
        "connections": len(rows),
        "connected": sum(row["connected"] for row in rows),
        "forged_datagrams": sum(row["forged"] for row in rows),
        "third_frame_ms": quantiles([row["ms"] for row in rows]),
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "machine"}))
    return 0 if result["connected"] == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
