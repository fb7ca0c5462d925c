"""
What one more subscriber of a stream costs the process that sends it.

    python -m benchmarks.fanout [--subscribers 12] [--packets 3] [--seconds 4] [--profile]

Subscribers are real connections on loopback, in a process of their own, that report which frames
they hold as decoders do. What is measured is processor time of this process, user and system, with
two subscribers and with many, in turns: the difference is what the others cost. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import multiprocessing
import pstats
import statistics
import sys
import time
from multiprocessing.connection import Connection

import uvloop

from rtcodec.packet.feedback import FrameReporter, write_report
from rtcodec.packet.payload import FrameTiming
from rtcodec.webrtc import (
    LatentReceiver,
    LatentSender,
    OutgoingFrame,
    accept_answer,
    accept_offer,
    add_latent_receiver,
    create_answer,
    create_offer,
    monotonic_us,
    new_connection,
)

FPS = 30
FEW = 2
PACKET_BYTES = 1000


# ---- the other process


def receive(pipe: Connection, n_subscribers: int) -> None:
    """Watch until told to stop; say how many frames came."""
    uvloop.run(_receive(pipe, n_subscribers))


async def _receive(pipe: Connection, n_subscribers: int) -> None:
    loop = asyncio.get_running_loop()
    connections = [new_connection() for _ in range(n_subscribers)]
    waiting = [add_latent_receiver(connection) for connection in connections]
    pipe.send([await create_offer(c, loopback_only=True) for c in connections])
    for connection, answer in zip(connections, pipe.recv(), strict=True):
        await accept_answer(connection, answer)
    readers = [asyncio.ensure_future(_read(await ready)) for ready in waiting]
    await loop.run_in_executor(None, pipe.recv)
    for connection in connections:
        await connection.close()
    pipe.send(sum(await asyncio.gather(*readers)))


async def _read(receiver: LatentReceiver) -> int:
    reporter, n_frames = FrameReporter(), 0
    async for frame in receiver:
        n_frames += 1
        now_us = monotonic_us()
        reporter.decided(frame.number & 0xFFFF, is_held=frame.is_complete, now_us=now_us)
        if (report := reporter.take_due(now_us=now_us)) is not None:
            receiver.send_feedback(write_report(report))
    return n_frames


# ---- this process


async def send(n_subscribers: int, n_packets: int, seconds: float) -> dict[str, float]:
    """Send frames to some subscribers; return processor milliseconds a frame and what came."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(
        target=receive, args=(there, n_subscribers)
    )
    child.start()
    loop = asyncio.get_running_loop()
    connections, senders, answers = [], [], []
    for offer in await loop.run_in_executor(None, here.recv):
        connections.append(new_connection())
        senders.append(LatentSender())
        senders[-1].attach(connections[-1])
        await accept_offer(connections[-1], offer)
        answers.append(await create_answer(connections[-1], loopback_only=True))
    here.send(answers)
    while any(c.connectionState != "connected" for c in connections):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await _send_frames(senders, n_packets, 0.5)
    before_s, n_frames = time.process_time(), await _send_frames(senders, n_packets, seconds)
    used_ms = (time.process_time() - before_s) * 1000
    here.send(None)
    n_received = await loop.run_in_executor(None, here.recv)
    for connection in connections:
        await connection.close()
    await loop.run_in_executor(None, child.join)
    n_sent = sum(sender.counters.frames_sent for sender in senders)
    return {"ms_per_frame": used_ms / n_frames, "n_sent": n_sent, "n_received": n_received}


async def _send_frames(senders: list[LatentSender], n_packets: int, seconds: float) -> int:
    """Send to all at the frame rate; return how many frames that was."""
    n_frames = round(seconds * FPS)
    packets = tuple(bytes([n]) * PACKET_BYTES for n in range(n_packets))
    start_us = monotonic_us()
    for n in range(n_frames):
        await asyncio.sleep(max(0, start_us + n * 1_000_000 // FPS - monotonic_us()) / 1e6)
        timing = FrameTiming(pts=n * 90_000 // FPS, received_us=start_us)
        frame = OutgoingFrame(packets, timing.pts, timing, is_keyframe=False)
        for sender in senders:
            sender.send(frame)
    await asyncio.sleep(1 / FPS)
    return n_frames


def main() -> int:
    """Measure few and many in turns; write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0].strip())
    parser.add_argument("--subscribers", type=int, default=12)
    parser.add_argument("--packets", type=int, default=3, help="of 1000 bytes, in each frame")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="say where the time goes, once")
    args = parser.parse_args()

    def run(n_subscribers: int) -> dict[str, float]:
        return uvloop.run(send(n_subscribers, args.packets, args.seconds))

    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(run, args.subscribers)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return 0
    runs = [(run(FEW), run(args.subscribers)) for _ in range(args.rounds)]
    each = [
        (many["ms_per_frame"] - few["ms_per_frame"]) / (args.subscribers - FEW)
        for few, many in runs
    ]
    result = {
        "ms_per_frame_and_subscriber": statistics.median(each),
        "all": each,
        "packets_per_frame": args.packets,
        "runs": runs,
    }
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
