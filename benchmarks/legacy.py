"""
What ordinary viewers of a room cost the relay: one encoder for each codec, and each viewer.

    python -m benchmarks.legacy [--size 640x360] [--viewers 10] [--seconds 4] [--rounds 3]

Viewers are real connections on loopback, in a process of their own, that count packets and decode
nothing. What is measured is processor time of this process, user and system, at 30 frames per
second of a drawn scene: with one viewer, most of which is the encoder's, and with many; in turns.
Writes `benchmarks/legacy.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop
from aiortc import RTCPeerConnection, RTCRtpReceiver

from benchmarks.rate_distortion import commit
from rtcodec.evaluation.installation import hardware, versions
from rtcodec.types import Planes
from rtcodec.webrtc import (
    accept_answer,
    accept_offer,
    create_answer,
    create_offer,
    monotonic_us,
    new_connection,
)
from rtcodec.webrtc.video_sender import VideoSender
from rtcodec_client.scene import Scene
from rtcodec_client.source import parse_size
from rtcodec_server.edge_config import ORDINARY_CODECS, LegacyConfig
from rtcodec_server.legacy import Encoding, LegacyAudience

ROOT = Path(__file__).parents[1]
FPS = 30
N_PICTURES = 60


# ---- the other process


def receive(pipe: Connection, n_viewers: int, codec: str) -> None:
    """Watch until told to stop; say how many packets came."""
    uvloop.run(_receive(pipe, n_viewers, codec))


async def _receive(pipe: Connection, n_viewers: int, codec: str) -> None:
    connections = [_viewer(codec) for _ in range(n_viewers)]
    pipe.send([await create_offer(c, loopback_only=True) for c in connections])
    for connection, answer in zip(connections, pipe.recv(), strict=True):
        await accept_answer(connection, answer)
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    n_packets = 0
    for connection in connections:
        (transceiver,) = connection.getTransceivers()
        stats = await transceiver.receiver.getStats()
        n_packets += sum(getattr(entry, "packetsReceived", 0) for entry in stats.values())
        await connection.close()
    pipe.send(n_packets)


def _viewer(codec: str) -> RTCPeerConnection:
    connection = new_connection()
    transceiver = connection.addTransceiver("video", direction="recvonly")
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None
    transceiver.setCodecPreferences([c for c in known.codecs if c.name in (codec, "rtx")])
    return connection


# ---- this process


async def send(
    pictures: list[Planes], n_viewers: int, codec: str, seconds: float
) -> dict[str, Any]:
    """Show pictures to some viewers; return processor milliseconds a frame and what came of it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=receive, args=(there, n_viewers, codec))
    child.start()
    loop = asyncio.get_running_loop()
    audience = LegacyAudience(LegacyConfig(follow_remb=False))
    connections, senders, answers = [], [], []
    for offer in await loop.run_in_executor(None, here.recv):
        connection = new_connection()
        sender = VideoSender(
            codec, on_keyframe_needed=lambda: audience.need_keyframe(Encoding(codec))
        )
        sender.attach(connection)
        await accept_offer(connection, offer)
        answers.append(await create_answer(connection, loopback_only=True))
        connections.append(connection)
        senders.append(sender)
    here.send(answers)
    while any(c.connectionState != "connected" for c in connections):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    for number, sender in enumerate(senders):
        audience.join(str(number), sender)
    await _show(audience, pictures, 0, 0.5)
    ((_, _, before),) = audience.figures()
    before_s = time.process_time()
    await _show(audience, pictures, FPS, seconds)
    used_ms = (time.process_time() - before_s) * 1000
    ((_, _, after),) = audience.figures()
    n_encoded = after.encoded - before.encoded
    here.send(None)
    n_received = await loop.run_in_executor(None, here.recv)
    for number in range(n_viewers):
        audience.leave(str(number))
    await audience.settle()
    for connection in connections:
        await connection.close()
    await loop.run_in_executor(None, child.join)
    return {
        "cpu_ms_per_frame": used_ms / n_encoded,
        "encode_ms_per_frame": (after.encode_us - before.encode_us) / 1000 / n_encoded,
        "kbps": (after.payload_bytes - before.payload_bytes) * 8 / 1000 / seconds,
        "frames_encoded": n_encoded,
        "frames_superseded": after.superseded - before.superseded,
        "packets_received": n_received,
    }


async def _show(
    audience: LegacyAudience, pictures: list[Planes], first: int, seconds: float
) -> None:
    start_us = monotonic_us()
    for number in range(round(seconds * FPS)):
        await asyncio.sleep(max(0, start_us + number * 1_000_000 // FPS - monotonic_us()) / 1e6)
        audience.put(pictures[number % len(pictures)], (first + number) * 90_000 // FPS)
    await asyncio.sleep(1 / FPS)


def measure(pictures: list[Planes], codec: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one codec with one viewer and with many, in turns."""
    runs = []
    for _ in range(args.rounds):
        one = uvloop.run(send(pictures, 1, codec, args.seconds))
        many = uvloop.run(send(pictures, args.viewers, codec, args.seconds))
        runs.append({"one": one, "many": many})
    each = [
        (run["many"]["cpu_ms_per_frame"] - run["one"]["cpu_ms_per_frame"]) / (args.viewers - 1)
        for run in runs
    ]
    return {
        "codec": codec,
        "cpu_ms_per_frame_with_one_viewer": statistics.median(
            run["one"]["cpu_ms_per_frame"] for run in runs
        ),
        "cpu_ms_per_frame_and_further_viewer": statistics.median(each),
        "runs": runs,
    }


def main() -> int:
    """Measure each codec; write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/legacy.json")
    args = parser.parse_args()
    at = commit()
    scene = Scene(*parse_size(args.size), FPS)
    pictures = [scene.planes(index) for index in range(N_PICTURES)]
    document = {
        "command": f"python -m benchmarks.legacy --size {args.size} --viewers {args.viewers}",
        "commit": at,
        "hardware": hardware(),
        "versions": versions(),
        "size": args.size,
        "viewers": args.viewers,
        "codecs": [measure(pictures, codec, args) for codec in ORDINARY_CODECS],
    }
    args.output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(json.dumps({**document, "codecs": [_short(c) for c in document["codecs"]]}, indent=1))
    return 0


def _short(codec: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in codec.items() if name != "runs"}


if __name__ == "__main__":
    sys.exit(main())
